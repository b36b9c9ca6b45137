"""A stage: a frozen config, a function from one partition to its files and counts, a name and a version.

A partition is committed by its sidecar `NNNNN.json`, written last; the sidecar's key is a digest of stage,
version, config and the input's identity, so what is done is never redone and what differs always is.
State that a step wants once a worker (an index, a model) it builds with `functools.cache`: workers live long.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec

from openwit import manifest as manifests
from openwit import storage
from openwit.config import IsDataclass, decisive, digest
from openwit.errors import InputError, OpenwitError, WorkError
from openwit.executors.executor import Executor, Failure
from openwit.log.events import InFlight, Log
from openwit.manifest import Manifest, Part, PartFile

C = TypeVar("C", bound=IsDataclass)
Counts = Counter[str]
Lineage = Mapping[str, str]
Live = Callable[[], Mapping[int, InFlight]]  # the partitions that workers are at, as far as these have told
NO_LINEAGE: Lineage = MappingProxyType({})
STORE_REQUESTS = 64  # at once


@dataclass(frozen=True, kw_only=True)
class Input:
    """A file that a partition reads, or the half-open `span` of it (a dump's bytes, a table's rows); `identity`
    changes when its content does."""

    url: str
    identity: str
    span: tuple[int, int] | None = None

    @classmethod
    def outside(cls, url: str) -> Input:
        """An input that no stage made. Raises InputError where it is missing."""
        return cls(url=storage.absolute(url), identity=storage.identity(url))

    @classmethod
    def all_outside(cls, urls: Sequence[str]) -> list[Input]:
        """The same for many files: their stores are asked side by side, since each answer takes a while."""
        with ThreadPoolExecutor(STORE_REQUESTS) as pool:
            return list(pool.map(cls.outside, urls))

    @classmethod
    def made(cls, folder: str, file: PartFile) -> Input:
        """A file that another stage made."""
        return cls(url=storage.join(folder, file.name), identity=file.sha256)

    def cut(self, start: int, end: int) -> Input:
        """The part of the file from `start` up to `end`, an input of its own."""
        return Input(url=self.url, identity=f"{self.identity}[{start}:{end}]", span=(start, end))


@dataclass(frozen=True, kw_only=True)
class Source:
    """One partition's inputs by role, e.g. {"wat": (…,), "queries": (…,)}."""

    index: int
    inputs: Mapping[str, tuple[Input, ...]]

    def input(self, role: str) -> Input:
        """The one input of that role."""
        (only,) = self.inputs[role]
        return only

    def url(self, role: str) -> str:
        """The URL of the one input of that role."""
        return self.input(role).url

    def urls(self, role: str) -> list[str]:
        """The URLs of all inputs of that role, in order."""
        return [entry.url for entry in self.inputs[role]]


@dataclass(frozen=True)
class Target:
    """Where a partition's files are written: scratch paths that are published when the step has returned."""

    index: int
    scratch: Path

    @property
    def name(self) -> str:
        """The partition's number in five digits."""
        return f"{self.index:05d}"

    def path(self, suffix: str) -> Path:
        """The local path to write this partition's `NNNNN<suffix>` to; `.json` is the sidecar's own."""
        assert suffix != ".json", "the sidecar's name"
        return self.scratch / f"{self.name}{suffix}"

    def named(self, name: str) -> Path:
        """The local path of a file that is published under a name of its own (stages of one partition)."""
        assert name != manifests.MANIFEST, "the manifest's name"
        return self.scratch / name

    def note(self, suffix: str) -> Path:
        """The same for a file that is published but is no part of the data set (times, rates)."""
        (self.scratch / "notes").mkdir(exist_ok=True)
        return self.scratch / "notes" / f"{self.name}{suffix}"


@dataclass(frozen=True)
class Stage(Generic[C]):
    """What is done to each partition. `process` returns counts with in == kept + the sum of dropped.<reason>,
    and `rows`, the rows that it wrote (where absent, `kept`). Workers receive `process` by pickle: give a
    function of a module."""

    name: str
    version: int
    process: Callable[[C, Source, Target], Counts]
    software: tuple[str, ...] = ()  # packages whose versions the manifest records


@dataclass(frozen=True)
class _Task(Generic[C]):
    stage: Stage[C]
    config: C
    source: Source
    folder: str
    key: str

    def __str__(self) -> str:
        return f"{self.stage.name} {self.source.index:05d}"


@dataclass(kw_only=True)
class Plan(Generic[C]):
    """The partitions of a stage in a folder: those done already and those to do."""

    stage: Stage[C]
    config: C
    folder: str
    sources: Sequence[Source]
    done: list[Part] = field(default_factory=list)
    todo: list[Source] = field(default_factory=list)


def plan(stage: Stage[C], config: C, sources: Sequence[Source], folder: str) -> Plan[C]:
    """Reads the folder's sidecars and sorts the partitions into done and to do; changes nothing."""
    assert len({source.index for source in sources}) == len(sources), "two partitions of one number"
    folder = storage.absolute(folder)
    result = Plan(stage=stage, config=config, folder=folder, sources=sources)
    finished = _finished(folder)
    for source in sources:
        part = finished.get(source.index)
        if part is not None and part.key == partition_key(stage, config, source):
            result.done.append(part)
        else:
            result.todo.append(source)
    return result


def run(
    plan: Plan[C],
    executor: Executor,
    log: Log,
    *,
    recipe: str = "",
    lineage: Lineage = NO_LINEAGE,
    in_flight: Live | None = None,
) -> Manifest:
    """Does what is to do, then writes and returns the folder's manifest; `lineage` (name → digest) joins its inputs.
    `in_flight` is only shown: what counts are the sidecars.

    A partition that fails is tried again by the executor; the others are finished first, then WorkError (InputError
    where all the fault lies in the input) names the failed ones. The old manifest and the files of partitions that no
    longer belong, or are to be redone, are removed first: while there is a manifest, all that it names is whole.
    """
    stage, folder = plan.stage, plan.folder
    storage.delete(storage.join(folder, manifests.MANIFEST))
    _remove_strays(folder, {part.index for part in plan.done})
    tasks = [_Task(stage, plan.config, s, folder, partition_key(stage, plan.config, s)) for s in plan.todo]
    parts = list(plan.done)
    failed: dict[int, Failure] = {}
    before = sum((Counter(part.counts) for part in plan.done), Counter[str]())
    left = {source.index for source in plan.todo}
    live = (lambda: _sum_of(in_flight(), left)) if in_flight else None
    total, done = len(plan.sources), len(plan.done)
    with log.progress(stage.name, total=total, done=done, counts=before, in_flight=live) as progress:
        for task, outcome in executor.map(_run_task, tasks):
            left.discard(task.source.index)
            if isinstance(outcome, Failure):
                failed[task.source.index] = outcome
                where = {"stage": stage.name, "partition": task.source.index}
                log.event("partition_failed", **where, error=outcome.error, traceback=outcome.traceback)
            else:
                parts.append(outcome)
                progress.advance(counts=outcome.counts)
    if failed:
        raise _failure_of(plan, failed)
    result = Manifest(
        stage=stage.name,
        version=stage.version,
        config=msgspec.to_builtins(plan.config),
        inputs={**lineage, **_input_digests(plan.sources)},
        parts=tuple(sorted(parts, key=lambda part: part.index)),
        recipe=recipe,
        software={name: metadata.version(name) for name in stage.software},
    )
    manifests.write(folder, result)
    storage.clear_scratch(folder)
    counts = dict(sorted(result.counts.items()))
    log.event("stage_done", stage=stage.name, partitions=len(parts), rows=result.rows, counts=counts)
    return result


def _sum_of(in_flight: Mapping[int, InFlight], left: set[int]) -> InFlight:
    """What the partitions that are left have come to; what a worker last said of one that is done counts no more."""
    told = [entry for index, entry in in_flight.items() if index in left]
    return InFlight(sum(entry.steps for entry in told), sum((Counter(entry.counts) for entry in told), Counter()))


def _failure_of(plan: Plan[C], failed: dict[int, Failure]) -> OpenwitError:
    """The error that names the failed partitions: an InputError where every one of them was the user's input."""
    kind = InputError if all(failure.bad_input for failure in failed.values()) else WorkError
    first = min(failed)
    names = ", ".join(f"{index:05d}" for index in sorted(failed)[:10])
    return kind(
        f"{plan.stage.name}: {len(failed)} of {len(plan.sources)} partitions failed ({names}); "
        f"{first:05d}: {failed[first].error}; the same command tries them again"
    )


def is_complete(plan: Plan[C]) -> bool:
    """Whether the folder's manifest is the one that these partitions would give."""
    try:
        stored = manifests.read(plan.folder)
    except InputError:
        return False
    return not plan.todo and list(stored.parts) == sorted(plan.done, key=lambda part: part.index)


def seconds_of(plan: Plan[C]) -> float:
    """The median time that a finished partition of this folder took, in seconds; 0 where none is finished."""
    urls = [_sidecar(plan.folder, part.index) for part in plan.done]
    times = [float(storage.read_json(url).get("seconds", 0)) for url in urls]
    return statistics.median(times) if times else 0.0


def partition_key(stage: Stage[C], config: C, source: Source) -> str:
    """The digest by which a finished partition is known: stage, version, config without its free fields, the inputs'
    identities."""
    inputs = {role: [entry.identity for entry in entries] for role, entries in source.inputs.items()}
    return digest(stage.name, stage.version, decisive(config), source.index, inputs)


def _input_digests(sources: Sequence[Source]) -> dict[str, str]:
    roles = sorted({role for source in sources for role in source.inputs})
    return {
        role: digest(sorted({entry.identity for source in sources for entry in source.inputs.get(role, ())}))
        for role in roles
    }


def _run_task(task: _Task[C]) -> Part:
    started = time.monotonic()
    with storage.writing(task.folder), storage.scratch_folder(task.folder) as scratch:
        target = Target(task.source.index, scratch)
        counts = task.stage.process(task.config, task.source, target)
        check_counts(counts)
        paths = sorted(path for path in scratch.iterdir() if path.is_file())
        files = tuple(
            PartFile(name=path.name, bytes=path.stat().st_size, sha256=storage.sha256(path)) for path in paths
        )
        storage.delete(_sidecar(task.folder, task.source.index))  # a stale sidecar must not vouch for new files
        for path in [*paths, *sorted(scratch.glob("notes/*"))]:
            storage.publish(path, storage.join(task.folder, path.name))
    rows = counts.pop("rows", counts["kept"])
    part = Part(index=task.source.index, key=task.key, rows=rows, files=files, counts=dict(sorted(counts.items())))
    sidecar = {**msgspec.to_builtins(part), "seconds": round(time.monotonic() - started, 3)}
    storage.write_json(_sidecar(task.folder, task.source.index), sidecar)
    return part


def check_counts(counts: Counts) -> None:
    """Raises WorkError where a partition lost count: in must equal kept plus all dropped.<reason>."""
    dropped = sum(number for name, number in counts.items() if name.startswith("dropped."))
    if counts["in"] != counts["kept"] + dropped:
        raise WorkError(f"counts do not add up: in={counts['in']}, kept={counts['kept']}, dropped={dropped}")


def _sidecar(folder: str, index: int) -> str:
    return storage.join(folder, f"{index:05d}.json")


def _finished(folder: str) -> dict[int, Part]:
    """The partitions whose sidecar is whole and whose files are there at their sizes; others are redone."""
    sizes = storage.list_sizes(folder)
    parts = {}
    for name in sizes:
        if not re.fullmatch(r"\d{5,}\.json", name):
            continue
        try:
            part = msgspec.json.decode(storage.read_bytes(storage.join(folder, name)), type=Part)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # it vouches for nothing
        if name == f"{part.index:05d}.json" and all(sizes.get(file.name) == file.bytes for file in part.files):
            parts[part.index] = part
    return parts


def _remove_strays(folder: str, done: set[int]) -> None:
    """Deletes the files of all partitions but those done, and what a killed run left in the scratch folder."""
    for name in storage.list_sizes(folder):
        match = re.match(r"(\d{5,})[._]", name)
        if match and int(match[1]) not in done:
            storage.delete(storage.join(folder, name))
    storage.clear_scratch(folder)
