"""Checkpoints: step-NNNNNNNN/ with the weights, the optimizer's statistics, and where the stream stands.

    model.safetensors        weights, a CLIP's by OpenAI's names, fp32
    config.json              of a CLIP: sizes, activation and preprocessing, so that `models.load` takes the folder
    optimizer.safetensors    "<parameter>/<statistic>"
    state.json               step, data cursor, config

Nothing in it is pickled. What training draws at random depends on (seed, step, key), so no generator's state is kept.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.clip import Clip
from models.interchange.openwit_folder import CONFIG, config_json
from openwit import storage
from openwit.config import from_json
from openwit.errors import ConfigError, InputError
from train.batches import Cursor
from train.checkpoint_files import NAME, folder_of, steps
from train.config import AnyTrainingConfig, PretrainConfig
from train.optimizer import load_state_by_name, state_by_name

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class State:
    """What a checkpoint holds beside tensors."""

    config: AnyTrainingConfig
    cursor: Cursor


@dataclass(frozen=True, kw_only=True)
class _Written:
    """A `State` in its file."""

    config: msgspec.Raw
    cursor: Cursor


@dataclass(frozen=True, kw_only=True)
class _Holder:
    """The config of a `State`, of whichever objective."""

    config: AnyTrainingConfig


def save(folder: str, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, keep_last: int) -> None:
    """Publishes the checkpoint of `state.cursor.step` whole, then removes all but the `keep_last` newest."""
    target = Path(storage.local_path(folder_of(folder, state.cursor.step)))
    with storage.scratch_folder(folder) as scratch:
        made = scratch / target.name
        made.mkdir()
        save_file(_plain(model.state_dict()), made / MODEL)
        if isinstance(model, Clip):
            (made / CONFIG).write_bytes(config_json(model.config))
        save_file(_plain(state_by_name(optimizer, model)), made / OPTIMIZER)
        (made / STATE).write_bytes(msgspec.json.encode(state))
        for path in (*made.iterdir(), made):
            storage.sync(path)
        made.rename(target)
        storage.sync(target.parent)
        for step in steps(folder)[:-keep_last]:
            doomed = Path(storage.local_path(folder_of(folder, step)))
            doomed.rename(scratch / doomed.name)  # it must lose its name before it loses a file
            shutil.rmtree(scratch / doomed.name)


def load_state(checkpoint: str) -> State:
    """Raises InputError where the checkpoint lacks its state or holds another version's."""
    url = storage.join(checkpoint, STATE)
    try:
        written = msgspec.json.decode(storage.read_bytes(url), type=_Written)
        holder = from_json(_Holder, b'{"config":%b}' % bytes(written.config))
        return State(config=holder.config, cursor=written.cursor)
    except (msgspec.ValidationError, msgspec.DecodeError, ConfigError) as error:
        raise InputError(f"{url}: is no training state of openwit ({error})") from None


def load_weights(checkpoint: str, model: nn.Module) -> None:
    """Puts the checkpoint's weights into the model. Raises InputError where they are missing or do not fit."""
    url = storage.join(checkpoint, MODEL)
    try:
        model.load_state_dict(_read(url))
    except RuntimeError as error:
        raise InputError(f"{url}: does not fit the model ({str(error).splitlines()[-1].strip()})") from None


def load_optimizer(checkpoint: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Puts the checkpoint's statistics into the optimizer. Raises InputError where they are missing."""
    load_state_by_name(optimizer, model, _read(storage.join(checkpoint, OPTIMIZER)))


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


def _read(url: str) -> dict[str, Tensor]:
    try:
        return load_file(storage.local_path(url))
    except (OSError, SafetensorError) as error:
        advice = "delete this checkpoint to go on from the one before"
        raise InputError(f"{url}: cannot be read ({error}); {advice}") from None


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
