"""One lane within an epoch: its samples in the sequence of its tars, its examples in a shuffled order, and the cursor
from which it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic

from openwit.errors import InputError, WorkError
from openwit.shards.samples import TarSample, Unusable, scan_tar, shard_name
from openwit.shards.tar import BufferPool
from openwit.storage.readahead import TarFiles
from train.data.dataset import DataSet, TrainingShard
from train.data.order import Lane, Segment, Window, lane_size, window_at
from train.objective import E, ExampleBuilder


@dataclass(frozen=True)
class LaneCursor:
    """Where a lane stands: rows used in this epoch (unusable ones included), and rows skipped by reason since
    training began; `repeated` counts rows that were used again because the lane ran out."""

    position: int = 0
    skipped: dict[str, int] = field(default_factory=dict)

    def next_epoch(self) -> LaneCursor:
        """The cursor at the next epoch's first row."""
        return LaneCursor(0, self.skipped)


@dataclass(frozen=True)
class LaneRows:
    """The rows of one lane, in the sequence of its tars."""

    data_set: DataSet
    lane: Lane
    files: TarFiles
    pool: BufferPool

    @property
    def num_samples(self) -> int:
        """How many rows the lane has."""
        return lane_size(self.lane)

    def read(self, start: int) -> Iterator[TarSample | Unusable]:
        """One item for each row from the `start`-th on: an Unusable for a sample that cannot be used, and for a row
        that is not in its tar, where its key names the tar. Whoever has used a sample releases it. Raises WorkError
        where a store fails for too long."""
        for segment in self.lane:
            if start < segment.num_samples:
                shard = self.data_set.shards[segment.shard]
                yield from self._segment(shard, replace(segment, start=segment.start + start))
            start = max(0, start - segment.num_samples)

    def release(self, sample: TarSample) -> None:
        """Its members' buffers are for others now."""
        for member in sample.members.values():
            if isinstance(member, memoryview):
                self.pool.release(member)

    def _segment(self, shard: TrainingShard, segment: Segment) -> Iterator[TarSample | Unusable]:
        num_given = 0
        missing = Unusable(shard.name, "tar", f"has fewer than the {shard.num_samples} samples of the manifest")
        try:
            with self.files.open(shard.url) as file:
                found = scan_tar(file, segment.start, self.pool, shard_name(shard.url))
                for item in islice(found, segment.num_samples):
                    if isinstance(item, Unusable) and item.reason == "tar":
                        missing = replace(item, key=shard.name)
                        break
                    num_given += 1
                    yield replace(item, copy=segment.copy) if segment.copy and isinstance(item, TarSample) else item
        except (InputError, OSError) as error:
            missing = Unusable(shard.name, "tar", str(error))
        for _ in range(segment.num_samples - num_given):
            yield missing


class LaneReader(Generic[E]):
    """The examples of one lane of one epoch, again from its first where it ends; one thread at a time may ask it."""

    def __init__(
        self, rows: LaneRows, builder: ExampleBuilder[E], window: int, counter: tuple[int, int], at: LaneCursor
    ) -> None:
        """`counter` is (epoch, number of the lane); with the builder's seed it decides every draw."""
        self.rows, self.builder, self.window_size = rows, builder, window
        self.epoch, self.number = counter
        self.num_samples = rows.num_samples
        self.position = at.position
        self.skipped = dict(at.skipped)
        self.notices: list[str] = []
        self._coming: Iterator[TarSample | Unusable] = iter(())
        self._next_row = -1
        self._window: Window | None = None
        self._held: dict[int, TarSample | Unusable] = {}

    @property
    def cursor(self) -> LaneCursor:
        """What to go on from after the examples given so far."""
        return LaneCursor(self.position, dict(self.skipped))

    def __iter__(self) -> LaneReader[E]:
        return self

    def __next__(self) -> E:
        """The next example. Raises WorkError where a whole round of the lane gives none."""
        num_unusable = 0
        while isinstance(made := self._make(self._next_sample()), Unusable):
            num_unusable += 1
            if num_unusable >= self.num_samples:
                raise WorkError(
                    f"{self.rows.data_set.folder}: none of the {self.num_samples} samples of lane {self.number} can be "
                    f"used ({made.key}: {made.detail}); mend or rebuild these shards"
                )
        return made

    def take_notices(self) -> list[str]:
        """Names of damaged samples and tars met since the last call; excluded ones are counted only."""
        notices, self.notices = self.notices, []
        return notices

    def _make(self, sample: TarSample | Unusable) -> E | Unusable:
        if isinstance(sample, Unusable):
            made: E | Unusable = sample
        else:
            made = self.builder.build(sample, self.epoch)
            self.rows.release(sample)
        if isinstance(made, Unusable):
            self._count(made.reason)
            notice = f"{made.key}: {made.detail}"
            if made.reason != "excluded" and self.notices[-1:] != [notice]:
                self.notices.append(notice)
        elif self.position > self.num_samples:
            self._count("repeated")
        return made

    def _count(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def _next_sample(self) -> TarSample | Unusable:
        """For each sample that leaves, one of the next window is read: never more than a window is held, and a store is
        asked for them evenly."""
        place = self.position % self.num_samples
        window = self._window
        if window is None or not window.start < place < window.start + len(window.places):
            window = self._window = self._open_window(place)
        self.position += 1
        if self._next_row < self.num_samples:
            self._read_row()
        return self._held.pop(window.start + int(window.places[place - window.start]))

    def _open_window(self, place: int) -> Window:
        """The window of the place, with its samples from there on held."""
        counter = (self.builder.seed, self.epoch, self.number)
        window = window_at(place, self.num_samples, self.window_size, *counter)
        if window.start == 0 or self._next_row < window.start:  # a first one, or all over again
            self._coming, self._next_row, self._held = self.rows.read(window.start), window.start, {}
        while self._next_row < window.start + len(window.places):
            self._read_row()
        for used in window.places[: place - window.start].tolist():
            del self._held[window.start + used]
        return window

    def _read_row(self) -> None:
        self._held[self._next_row] = next(self._coming)
        self._next_row += 1
