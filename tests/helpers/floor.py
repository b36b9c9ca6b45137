"""A stage to try the floor with: it drops multiples, and obeys signals (files) to wait, fail or die half-way."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from openwit import stage as stages
from openwit.executors.executor import ExecutorConfig, open_executor
from openwit.log.events import Log
from openwit.manifest import Manifest
from openwit.stage import Input, Source, Stage, Target


@dataclass(frozen=True, kw_only=True)
class SieveConfig:
    """What the stage drops, and where it looks for signals."""

    modulus: int = 3  # multiples of it are dropped
    padding_bytes: int = 0  # more to write, so that a disk is full
    signals: str = ""  # folder of files named <signal>-<index>


def sieve(config: SieveConfig, source: Source, target: Target) -> Counter[str]:
    """Writes the input's numbers without the multiples; its signals: hold, fail, die, die_once, miscount."""
    signals = Path(config.signals)
    with (signals / f"tries-{source.index}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    counts: Counter[str] = Counter()
    with target.path(".txt").open("w") as out:
        out.write("\0" * config.padding_bytes)
        for number in map(int, Path(source.url("numbers")).read_text().split()):
            counts["in"] += 1
            if number % config.modulus:
                out.write(f"{number}\n")
                counts["kept"] += 1
            else:
                counts["dropped.multiple"] += 1
        out.flush()
        _obey(signals, source.index)
    if (signals / f"miscount-{source.index}").exists():
        counts["kept"] -= 1
    target.note("_times.txt").write_text(f"{time.time()}")
    return counts


def _obey(signals: Path, index: int) -> None:
    if (signals / f"die_once-{index}").exists():
        (signals / f"die_once-{index}").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (signals / f"die-{index}").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    if (signals / f"fail-{index}").exists():
        raise RuntimeError("first line\nsecond line")
    while (signals / f"hold-{index}").exists():
        part = signals / f"part-{index}"
        part.write_text(f"{os.getpid()}")
        part.rename(signals / f"held-{index}")  # whoever waits for it never reads half of it
        time.sleep(0.01)


SIEVE = Stage("sieve", 1, sieve)


@dataclass(frozen=True)
class Bench:
    """Input files, signals and an output folder below one root."""

    root: Path

    @property
    def signals(self) -> Path:
        """The folder of signals."""
        return self.root / "signals"

    def prepare(self, number: int = 5) -> Bench:
        """Writes `number` input files."""
        self.signals.mkdir(parents=True)
        (self.root / "in").mkdir()
        for index in range(number):
            self.write_input(index, range(index * 7, index * 7 + 50))
        return self

    def write_input(self, index: int, numbers: Sequence[int]) -> None:
        """Replaces one input file."""
        (self.root / "in" / f"{index}.txt").write_text("\n".join(map(str, numbers)))

    def sources(self) -> list[Source]:
        """One partition a file."""
        paths = sorted((self.root / "in").iterdir())
        return [Source(index=int(path.stem), inputs={"numbers": (Input.outside(str(path)),)}) for path in paths]

    @contextmanager
    def signal(self, name: str) -> Iterator[Path]:
        """The signal is given inside the block."""
        path = self.signals / name
        path.touch()
        yield path
        path.unlink(missing_ok=True)

    def tries(self) -> dict[int, int]:
        """How often each partition was begun since the last call."""
        paths = {int(path.name.split("-")[1]): path for path in self.signals.glob("tries-*")}
        found = {index: len(path.read_text().split()) for index, path in sorted(paths.items())}
        for path in paths.values():
            path.unlink()
        return found

    def config(self, modulus: int = 3, padding_bytes: int = 0) -> SieveConfig:
        """The stage's config with this bench's signals."""
        return SieveConfig(modulus=modulus, padding_bytes=padding_bytes, signals=str(self.signals))

    def run(
        self,
        folder: str | Path,
        config: SieveConfig | None = None,
        stage: Stage[SieveConfig] = SIEVE,
        executor: ExecutorConfig | None = None,
    ) -> Manifest:
        """Plans and runs the stage into `folder`."""
        plan = stages.plan(stage, config or self.config(), self.sources(), str(folder))
        log = Log(self.root / "log.jsonl", io.StringIO())
        with open_executor(executor or ExecutorConfig()) as opened:
            return stages.run(plan, opened, log)


def contents(folder: Path) -> dict[str, bytes]:
    """The data set's files and manifest by name; not the sidecars and notes, which hold times."""
    names = [path.name for path in folder.iterdir() if path.is_file()]
    wanted = [name for name in names if name == "manifest.json" or (name.endswith(".txt") and "_" not in name)]
    return {name: (folder / name).read_bytes() for name in sorted(wanted)}


def main(root: str, folder: str, kind: str, workers: str, address: str = "") -> None:
    """The same as a command of its own, to be killed."""
    assert kind in ("local", "ray")
    executor = ExecutorConfig(kind="ray" if kind == "ray" else "local", workers=int(workers), address=address)
    print(Bench(Path(root)).run(folder, executor=executor).digest)


if __name__ == "__main__":
    from helpers import floor  # the step must have a module's name that the workers can import

    floor.main(*sys.argv[1:])
