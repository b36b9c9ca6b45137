"""How well samples are mixed: our order beside that of open_clip (webdataset's shuffles over shuffled shards, with the
buffers that open_clip gives them), on the same made shards, keys only, against what a perfect shuffle would give.

Of two samples it counts how often they meet in a global batch, as a multiple of what a perfect shuffle gives (1: as
good as perfect; more: what stood together stays together):
  shard        two samples of one shard
  neighbours   two that stand beside each other in a tar
  again        two that met in the epoch before
And of a sample `displacement`, the mean distance between its places in two epochs, as a share of the perfect one.

Keys: <measure>_meetings of ours and <measure>_vs_webdataset (theirs divided by ours; above 1: ours mixes better).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from harness import quick_flag, report
from open_clip_train import data as open_clip_data
from webdataset.filters import _shuffle

from train.data.order import Lane, ShardRange, deal, lane_size, window_at

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shards:
    """Made shards; a sample's number is its place in the row of all tars."""

    num_shards: int
    shard_samples: int

    @property
    def num_samples(self) -> int:
        return self.num_shards * self.shard_samples


@dataclass(frozen=True)
class Reading:
    """How an epoch is read."""

    batch_pairs: int
    num_lanes: int
    window: int
    ranks: int  # of the peer, whose order depends on them
    workers: int  # of each of the peer's ranks


def our_epoch(shards: Shards, reading: Reading, epoch: int) -> Numbers:
    """The samples of each global batch [steps, batch_pairs]."""
    part = ShardRange(0, tuple((shard, shards.shard_samples) for shard in range(shards.num_shards)))
    lanes = deal(part.segments(0, epoch), reading.num_lanes, 0, epoch)
    orders = [_lane_order(lane, number, shards, reading, epoch) for number, lane in enumerate(lanes)]
    return _batches(orders, reading.batch_pairs // reading.num_lanes)


def _lane_order(lane: Lane, number: int, shards: Shards, reading: Reading, epoch: int) -> Numbers:
    rows = np.concatenate([shards.shard_samples * s.shard + np.arange(s.start, s.stop) for s in lane])
    starts = range(0, lane_size(lane), reading.window)
    windows = (window_at(start, len(rows), reading.window, 0, epoch, number) for start in starts)
    return rows[np.concatenate([window.start + window.places for window in windows])]  # type: ignore[no-any-return]


def peer_epoch(shards: Shards, reading: Reading, epoch: int) -> Numbers:
    """The samples of each global batch [steps, batch_pairs]: each rank takes its workers' batches in turn."""
    numbers = list(range(shards.num_shards))
    buffer = open_clip_data._SHARD_SHUFFLE_SIZE, open_clip_data._SHARD_SHUFFLE_INITIAL
    tars = list(_shuffle(iter(numbers), *buffer, rng=random.Random(epoch)))
    per_rank = reading.batch_pairs // reading.ranks
    ranks = []
    for rank in range(reading.ranks):
        orders = []
        for worker in range(reading.workers):
            mine = tars[rank :: reading.ranks][worker :: reading.workers]
            orders.append(_worker_order(mine, shards, random.Random(f"{epoch}/{rank}/{worker}")))
        parts = [_batches([order], per_rank) for order in orders]
        steps = min(map(len, parts))
        ranks.append(np.stack([part[:steps] for part in parts], axis=1).reshape(-1, per_rank))
    return np.concatenate([rank[: min(map(len, ranks))] for rank in ranks], axis=1)


def _worker_order(tars: list[int], shards: Shards, rng: random.Random) -> Numbers:
    def samples() -> Iterator[int]:
        for tar in tars:
            yield from range(tar * shards.shard_samples, (tar + 1) * shards.shard_samples)

    buffer = open_clip_data._SAMPLE_SHUFFLE_SIZE, open_clip_data._SAMPLE_SHUFFLE_INITIAL
    return np.fromiter(_shuffle(samples(), *buffer, rng=rng), np.int64)


def _batches(orders: list[Numbers], each: int) -> Numbers:
    steps = min(map(len, orders)) // each
    return np.concatenate([order[: steps * each].reshape(steps, each) for order in orders], axis=1)


def measure(shards: Shards, first: Numbers, second: Numbers) -> dict[str, float]:
    """Of two epochs' batches, every measure as a multiple of the perfect shuffle's, at its expectation."""
    batch_pairs = first.shape[1]
    chance = (batch_pairs - 1) / (shards.num_samples - 1)  # that a sample of a batch has another given one beside it
    in_first, in_second = _batch_of(shards, first), _batch_of(shards, second)
    used = in_first >= 0
    shard = np.arange(shards.num_samples) // shards.shard_samples
    same_shard = used.sum() * (shards.shard_samples - 1) / 2 * chance
    beside = (shard[1:] == shard[:-1]) & used[:-1]
    both = used & (in_second >= 0)
    met = _pairs(in_first[used]) * both.mean() * chance
    return {
        "shard": _pairs(in_first[used] * shards.num_shards + shard[used]) / same_shard,
        "neighbours": (in_first[1:] == in_first[:-1])[beside].sum() / (beside.sum() * chance),
        "again": _pairs(in_first[both] * len(second) + in_second[both]) / met,
        "displacement": np.abs(in_first[both] / len(first) - in_second[both] / len(second)).mean() * 3,
    }


def _batch_of(shards: Shards, batches: Numbers) -> Numbers:
    """The batch of each sample; -1 where an epoch has no whole batch for it."""
    where = np.full(shards.num_samples, -1)
    where[batches] = np.arange(len(batches))[:, None]
    return where


def _pairs(groups: Numbers) -> float:
    """How many pairs are in a group together."""
    sizes = np.unique(groups, return_counts=True)[1].astype(float)
    return float((sizes * (sizes - 1) / 2).sum())


def main() -> None:
    quick = quick_flag(__doc__)
    shards = Shards(100, 10_000) if quick else Shards(400, 10_000)
    reading = Reading(batch_pairs=8192 if quick else 32768, num_lanes=64, window=2048, ranks=8, workers=4)
    ours = measure(shards, our_epoch(shards, reading, 0), our_epoch(shards, reading, 1))
    peer = measure(shards, peer_epoch(shards, reading, 0), peer_epoch(shards, reading, 1))
    meetings = ("shard", "neighbours", "again")
    report(
        "shuffle",
        {f"{name}_meetings": ours[name] for name in meetings}
        | {f"{name}_vs_webdataset": peer[name] / ours[name] for name in meetings}
        | {"displacement": ours["displacement"], "displacement_of_webdataset": peer["displacement"]},
        shards=shards.num_shards,
        shard_samples=shards.shard_samples,
        **vars(reading),
    )


if __name__ == "__main__":
    main()
