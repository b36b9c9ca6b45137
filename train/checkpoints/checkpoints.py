"""Checkpoints: step-NNNNNNNN/ with the weights, the optimizer's statistics, and where the stream stands.

    model.safetensors              weights, a CLIP's by OpenAI's names, fp32
    config.json                    of a CLIP: sizes, activation, preprocessing, so that `models.load` takes the folder
    optimizer-RRRRR.safetensors    "<parameter>/<statistic>", the share that rank R wrote
    state.json                     step, data cursor, config, the gradient scaler's state, names of the files above

Nothing in it is pickled. What training draws at random depends on (seed, step, key) alone, so there is no generator
whose state would have to be kept.

torch.distributed.checkpoint plans and gathers; its own writers pickle their metadata, or give files that only it reads,
so the files are our writer's. The first rank writes all weights into one file that anybody can load; the statistics,
twice as large, are shared out so that ranks write equally much.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed

from models.clip import Clip
from models.interchange.openwit_folder import CONFIG, config_json
from openwit import storage
from openwit.config import from_json
from openwit.errors import ConfigError, InputError, OpenwitError, WorkError
from train.checkpoints import layout
from train.checkpoints.layout import NAME, STATE, folder_of, latest, unfinished
from train.checkpoints.writer import SafetensorsWriter
from train.config import AnyTrainingConfig, PretrainConfig
from train.data.batches import Cursor
from train.optim.optimizer import load_state_by_name, state_by_name
from train.ranks import Ranks

MODEL, OPTIMIZER = "model.safetensors", "optimizer-{rank:05d}.safetensors"
TIMEOUT = datetime.timedelta(hours=1)  # for the slowest rank to write its share


@dataclass(frozen=True, kw_only=True)
class State:
    """What a checkpoint holds beside tensors."""

    config: AnyTrainingConfig
    cursor: Cursor
    scaler: dict[str, float | int] | None = None  # of GradScaler, where there is one


@dataclass(frozen=True, kw_only=True)
class _Written:
    """state.json: a `State`, and the names of the files with tensors."""

    config: msgspec.Raw
    cursor: Cursor
    scaler: dict[str, float | int] | None
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Holder:
    """The config of a `State`, of whichever objective."""

    config: AnyTrainingConfig


class Checkpoints:
    """The checkpoints of a running training, written in the background. All ranks make it, as a context, and call it
    alike; the end of the context waits for the last one.

    What goes wrong while one is written is raised by the next call or the end: WorkError, on all ranks.
    """

    def __init__(
        self, folder: str, ranks: Ranks, keep_last: int, before_commit: Callable[[], None] = lambda: None
    ) -> None:
        """The first rank calls `before_commit` when all tensors are written, for what must not be older than them."""
        self.folder, self.ranks, self.keep_last, self.before_commit = folder, ranks, keep_last, before_commit
        self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)  # its own: training goes on meanwhile
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: tuple[int, Future[object]] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(WorkError) if kind else contextlib.nullcontext():
            self.wait()
        self._thread.shutdown()

    def save(self, state: State, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Begins the checkpoint of `state.cursor.step`; training may go on when it returns, as the tensors are copied.
        When the checkpoint is whole, all but the `keep_last` newest are removed."""
        self.wait()
        tensors = {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in _share(model, optimizer, self.ranks).items()
        }
        about = {CONFIG: config_json(model.config)} if isinstance(model, Clip) else {}
        step, own = state.cursor.step, OPTIMIZER.format(rank=self.ranks.rank)

        def commit(files: list[str]) -> None:
            self.before_commit()
            layout.commit(self.folder, step, files, about | {STATE: _state_json(state, files)})
            layout.keep_newest(self.folder, self.keep_last)

        writer = SafetensorsWriter(
            unfinished(self.folder, step),
            lambda name: own if "/" in name else MODEL,
            lambda: layout.begin(self.folder, step),
            commit,
        )
        writing = self._thread.submit(save_distributed, tensors, storage_writer=writer, process_group=self._group)
        self._writing = step, writing

    def wait(self) -> None:
        """Returns when nothing is being written."""
        if self._writing is None:
            return
        (step, writing), self._writing = self._writing, None
        try:
            writing.result()
        except (Exception, CheckpointException) as error:  # which is no Exception to torch
            if self.ranks.is_first:
                with contextlib.suppress(OSError, OpenwitError):
                    layout.discard(self.folder, step)
            raise _first_error(error, folder_of(self.folder, step)) from error


def _share(model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> dict[str, Tensor]:
    """The tensors that this rank writes: the first all weights, and each as many statistics as make the shares even."""
    weights, statistics = model.state_dict(), state_by_name(optimizer, model)
    shares = [dict[str, Tensor]() for _ in range(ranks.num_ranks)]
    shares[0] |= weights
    loads = [sum(tensor.nbytes for tensor in share.values()) for share in shares]
    for name, tensor in sorted(statistics.items(), key=lambda entry: -entry[1].nbytes):
        lightest = loads.index(min(loads))
        shares[lightest][name] = tensor
        loads[lightest] += tensor.nbytes
    return shares[ranks.rank]


def _first_error(error: BaseException, place: str) -> OpenwitError:
    """One line of what a rank met."""
    causes = [cause for cause, _ in error.failures.values()] if isinstance(error, CheckpointException) else [error]
    own = [cause for cause in causes if isinstance(cause, OpenwitError)]
    return own[0] if own else WorkError(f"{place}: cannot be written ({type(causes[0]).__name__}: {causes[0]})")


def restore(folder: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> State | None:
    """Puts the newest checkpoint's weights and statistics into the model and the optimizer, on whichever number of
    ranks wrote it; its state. None where there is none."""
    newest = latest(folder)
    if newest is None:
        return None
    load_weights(newest, model)
    load_optimizer(newest, model, optimizer)
    return load_state(newest)


def load_state(checkpoint: str) -> State:
    """Raises InputError where the checkpoint lacks its state or holds another version's."""
    written = _written(checkpoint)
    try:
        holder = from_json(_Holder, b'{"config":%b}' % bytes(written.config))
    except ConfigError as error:
        raise InputError(f"{checkpoint}: holds the config of another version ({error})") from None
    return State(config=holder.config, cursor=written.cursor, scaler=written.scaler)


def load_weights(checkpoint: str, model: nn.Module) -> None:
    """Puts the checkpoint's weights into the model. Raises InputError where they are missing or do not fit."""
    url = storage.join(checkpoint, MODEL)
    try:
        model.load_state_dict(_read(url))
    except RuntimeError as error:
        raise InputError(f"{url}: does not fit the model ({str(error).splitlines()[-1].strip()})") from None


def load_optimizer(checkpoint: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts the checkpoint's statistics into the optimizer. Raises InputError where some are missing."""
    for file in _written(checkpoint).files:
        if file != MODEL:
            load_state_by_name(optimizer, model, _read(storage.join(checkpoint, file)))


def load_model(checkpoint: str) -> Clip:
    """The trained CLIP of a checkpoint folder (`checkpoint_files.latest` finds one), on the CPU, in eval mode.

    Raises InputError where the folder is no checkpoint of a CLIP.
    """
    if not NAME.fullmatch(Path(checkpoint).name) or not storage.exists(checkpoint):
        raise InputError(f"{checkpoint}: is no checkpoint; expected a folder …/checkpoints/step-NNNNNNNN")
    config = load_state(checkpoint).config
    if not isinstance(config, PretrainConfig):
        raise InputError(f"{checkpoint}: was made by {config.command} and holds no CLIP")
    model = Clip(config.model)
    load_weights(checkpoint, model)
    return model.eval()


def _state_json(state: State, files: list[str]) -> bytes:
    config = msgspec.Raw(msgspec.json.encode(state.config))
    return msgspec.json.encode(_Written(config=config, cursor=state.cursor, scaler=state.scaler, files=tuple(files)))


def _written(checkpoint: str) -> _Written:
    url = storage.join(checkpoint, STATE)
    try:
        return msgspec.json.decode(storage.read_bytes(url), type=_Written)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InputError(f"{url}: is no training state of openwit ({error})") from None


def _read(url: str) -> dict[str, Tensor]:
    try:
        with storage.local_copy(url) as path:
            return load_file(path)
    except (OSError, SafetensorError) as error:
        advice = "delete this checkpoint to go on from the one before"
        raise InputError(f"{url}: cannot be read ({error}); {advice}") from None
