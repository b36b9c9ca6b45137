"""Which samples form a step: a pure function of (seed, epoch, step) and the shards' sizes, never of processes or time.

An epoch's shards stand in a random row, which is cut into equal ranges of samples, one a lane (so a shard may be
shared by neighbours, and there may be fewer shards than lanes). A lane is read in sequence; each window of its
samples is permuted whole, so any position is found without replaying what came before. A global batch takes the
same number of samples of every lane; rank r of W reads the lanes v with v mod W = r.

Of several data sets each stands in the row so many times as its passes say. For a fraction of a pass the data set's
shards form a ring in an order of their own; each epoch takes the next arc of it, always of the same length.

A sample that cannot be used is replaced by the next of its lane. A lane that runs out before the epoch's last step
begins again at its first sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from openwit.errors import ConfigError


@dataclass(frozen=True)
class Segment:
    """The samples `start` to `stop` (exclusive) of one shard, by their place in the tar; `copy` counts how often the
    epoch has them besides, in copies with lower numbers."""

    shard: int
    start: int
    stop: int
    copy: int = 0

    @property
    def num_samples(self) -> int:
        """How many samples it spans."""
        return self.stop - self.start


Lane = tuple[Segment, ...]


def draw(*counter: object) -> int:
    """A random number of 64 bits that depends on the counter alone, e.g. ("crop", seed, epoch, key)."""
    text = "\0".join(map(str, counter)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def permutation(length: int, *counter: object) -> npt.NDArray[np.int64]:
    """The numbers below `length` in an order that depends on the counter alone."""
    raw = np.random.Philox(key=draw(*counter)).random_raw(length)  # the raw stream is the same in every numpy
    return np.argsort(raw, kind="stable")


@dataclass(frozen=True)
class ShardRange:
    """One data set of a mixture: its shards as (number, samples), used `passes` times an epoch; its own `number`."""

    number: int
    shards: tuple[tuple[int, int], ...]
    passes: float = 1.0

    @property
    def num_samples(self) -> int:
        """Samples in all its shards."""
        return sum(size for _, size in self.shards)

    @property
    def num_copies(self) -> int:
        """How often an epoch has all of it."""
        return int(self.passes)

    @property
    def arc(self) -> int:
        """Samples that an epoch has once more; the same number in every epoch."""
        return round((self.passes - self.num_copies) * self.num_samples)

    @property
    def num_rows(self) -> int:
        """Samples that it gives to an epoch, each counted as often as it is used."""
        return self.num_copies * self.num_samples + self.arc

    def segments(self, seed: int, epoch: int) -> list[Segment]:
        """What an epoch has of it. Over the epochs no sample is used more than once more than another."""
        segments = [Segment(shard, 0, size, copy) for copy in range(self.num_copies) for shard, size in self.shards]
        if self.arc:
            start = epoch * self.arc % self.num_samples
            stop = start + self.arc
            segments += self._ring(start, min(stop, self.num_samples), seed)
            segments += self._ring(0, stop - self.num_samples, seed)
        return segments

    def _ring(self, start: int, stop: int, seed: int) -> list[Segment]:
        """The samples from `start` to `stop` of the ring, as the copy after the whole ones."""
        segments, before = [], 0
        for place in permutation(len(self.shards), "ring", seed, self.number).tolist():
            shard, size = self.shards[place]
            first, last = max(start - before, 0), min(stop - before, size)
            if first < last:
                segments.append(Segment(shard, first, last, self.num_copies))
            before += size
        return segments


def deal(segments: Sequence[Segment], num_lanes: int, seed: int, epoch: int) -> tuple[Lane, ...]:
    """The lanes of an epoch: every sample of the segments in exactly one; their sizes differ by one at most."""
    total = sum(segment.num_samples for segment in segments)
    cuts = [total * lane // num_lanes for lane in range(num_lanes + 1)]
    lanes: list[list[Segment]] = [[] for _ in range(num_lanes)]
    lane, before = 0, 0
    for number in permutation(len(segments), "shards", seed, epoch).tolist():
        segment = segments[number]
        end = before + segment.num_samples
        place = before
        while place < end:
            while cuts[lane + 1] <= place:
                lane += 1
            stop = min(end, cuts[lane + 1])
            shift = segment.start - before
            lanes[lane].append(replace(segment, start=place + shift, stop=stop + shift))
            place = stop
        before = end
    return tuple(tuple(lane) for lane in lanes)


def lane_size(lane: Lane) -> int:
    """How many samples a lane spans."""
    return sum(segment.num_samples for segment in lane)


@dataclass(frozen=True)
class Window:
    """The samples of a lane from `start` on that are shuffled together: the i-th to be used is start + places[i]."""

    start: int
    places: npt.NDArray[np.int64]


def window_at(place: int, num_samples: int, window: int, *counter: object) -> Window:
    """The window that holds the `place`-th sample of a lane of `num_samples`, permuted."""
    start = place // window * window
    return Window(start, permutation(min(window, num_samples - start), "window", *counter, start))


def lanes_of_rank(rank: int, num_ranks: int, num_lanes: int) -> range:
    """The lanes that a rank reads."""
    return range(rank, num_lanes, num_ranks)


def steps_per_epoch(num_samples: int, num_excluded: int, batch_pairs: int, num_lanes: int) -> int:
    """Steps in which every lane gives its part without repeating, if exclusions spread evenly over the lanes.

    Raises ConfigError where an epoch is smaller than a global batch.
    """
    usable = num_samples - num_excluded
    steps = usable // num_lanes // (batch_pairs // num_lanes)
    if steps < 1:
        most = max(usable, 0) // num_lanes * num_lanes
        advice = f"write {most} or less" if most else f"the {num_lanes} lanes of stream.num_lanes need more data"
        raise ConfigError(
            f"batch_pairs={batch_pairs}: an epoch has {num_samples} samples ({num_excluded} of them excluded), less "
            f"than a global batch; {advice}"
        )
    return steps
