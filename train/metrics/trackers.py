"""Where else metrics go: TensorBoard's event files and Weights & Biases, fed by the first rank with the lines of
metrics.jsonl. Their packages are imported when they are asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from openwit import storage
from openwit.config import to_json
from openwit.errors import ConfigError
from train.config import TrainingConfig
from train.job import Job

TENSORBOARD = "tensorboard"  # folder of event files
WANDB_ID = "wandb-run.txt"  # so that a run that goes on is the same run there


class Tracker(Protocol):
    """Takes numbers of a step."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def require_packages(config: TrainingConfig) -> None:
    """Raises ConfigError where the config asks for a tracker whose package is missing."""
    section = config.section
    for wanted, package, off in (
        (config.tensorboard, "tensorboard", f"--{section}.tensorboard false"),
        (bool(config.wandb_project), "wandb", f'--{section}.wandb_project ""'),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise ConfigError(f"{section}: the package {package} is missing; pip install {package}, or write {off}")


@contextlib.contextmanager
def open_trackers(job: Job, start_step: int) -> Iterator[tuple[Tracker, ...]]:
    """The trackers that the job's config asks for, closed afterwards. Steps after `start_step`, which a killed run
    left, do not count any more."""
    with contextlib.ExitStack() as stack:
        trackers: list[Tracker] = []
        if job.config.tensorboard:
            trackers.append(TensorBoard(Path(job.here) / TENSORBOARD, start_step))
        if job.config.wandb_project:
            trackers.append(WeightsAndBiases(job))
        for tracker in trackers:
            stack.callback(tracker.close)
        yield tuple(trackers)


class TensorBoard:
    """Event files in a folder."""

    def __init__(self, folder: Path, start_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=start_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of a project; WANDB_MODE=offline keeps it in the job's folder. A run that goes on repeats some steps: their
    numbers are the same, and the service takes each step once."""

    def __init__(self, job: Job) -> None:
        import wandb

        note = storage.join(job.out, WANDB_ID)
        if not storage.exists(note):
            storage.write_bytes(note, uuid.uuid4().hex.encode())
        config: dict[str, Any] = msgspec.json.decode(to_json(job.config))
        self._teardown = wandb.teardown
        self._run = wandb.init(
            project=job.config.wandb_project,
            id=storage.read_bytes(note).decode(),
            resume="allow",
            dir=job.here,
            config=config,
            settings=wandb.Settings(console="off", silent=True),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()
        self._teardown()  # waits for the process that writes: a rank leaves at once afterwards


def scalars(record: Mapping[str, object], prefix: str = "") -> dict[str, float]:
    """The numbers of a record by name, those of its sections as section/name; its step, texts and lists are left
    out."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and f"{prefix}{name}" != "step":
            found[prefix + name] = float(value)
    return found
