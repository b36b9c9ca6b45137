"""Which samples form a step: a pure function of (seed, epoch, step) and the shards' sizes, never of processes or time.

An epoch's shards stand in a random row, which is cut into equal ranges of samples, one a lane (so a shard may be
shared by neighbours, and there may be fewer shards than lanes). A lane is read in sequence; each window of its
samples is permuted whole, so any position is found without replaying what came before. A global batch takes the
same number of samples of every lane; rank r of W reads the lanes v with v mod W = r.

A sample that cannot be used is replaced by the next of its lane. A lane that runs out before the epoch's last step
begins again at its first sample.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openwit.errors import ConfigError


@dataclass(frozen=True)
class Segment:
    """The samples `start` to `stop` (exclusive) of one shard, by their place in the tar."""

    shard: int
    start: int
    stop: int

    @property
    def num_samples(self) -> int:
        """How many samples it spans."""
        return self.stop - self.start


Lane = tuple[Segment, ...]


def draw(*counter: object) -> int:
    """A random number of 64 bits that depends on the counter alone, e.g. ("crop", seed, epoch, key)."""
    text = "\0".join(str(part) for part in counter).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def permutation(length: int, *counter: object) -> npt.NDArray[np.int64]:
    """The numbers below `length` in an order that depends on the counter alone."""
    raw = np.random.Philox(key=draw(*counter)).random_raw(length)  # the raw stream is the same in every numpy
    return np.argsort(raw, kind="stable")


def deal(shard_sizes: Sequence[int], num_lanes: int, seed: int, epoch: int) -> tuple[Lane, ...]:
    """The lanes of an epoch: every sample in exactly one; their sizes differ by one at most."""
    total = sum(shard_sizes)
    cuts = [total * lane // num_lanes for lane in range(num_lanes + 1)]
    lanes: list[list[Segment]] = [[] for _ in range(num_lanes)]
    lane, before = 0, 0
    for shard in permutation(len(shard_sizes), "shards", seed, epoch).tolist():
        end = before + shard_sizes[shard]
        place = before
        while place < end:
            while cuts[lane + 1] <= place:
                lane += 1
            stop = min(end, cuts[lane + 1])
            lanes[lane].append(Segment(shard, place - before, stop - before))
            place = stop
        before = end
    return tuple(tuple(segments) for segments in lanes)


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

    Raises ConfigError where the data set is smaller than a global batch.
    """
    usable = num_samples - num_excluded
    steps = usable // num_lanes // (batch_pairs // num_lanes)
    if steps < 1:
        most = max(usable, 0) // num_lanes * num_lanes
        advice = f"write {most} or less" if most else f"the {num_lanes} lanes of stream.num_lanes need more data"
        raise ConfigError(
            f"batch_pairs={batch_pairs}: the data set has {num_samples} samples ({num_excluded} pairs excluded), less "
            f"than a global batch; {advice}"
        )
    return steps
