"""The order of training: which samples form a step, and what is drawn for each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from helpers.shards import write_shards
from openwit.shards.samples import TarSample, Unusable
from openwit.shards.tar import BufferPool
from openwit.storage.readahead import TarFiles
from train.data.dataset import open_data_set
from train.data.lanes import LaneCursor, LaneReader, LaneRows
from train.data.order import Lane, ShardRange, deal, draw, lanes_of_rank, permutation, steps_per_epoch, window_at
from train.objectives.clip import kept_patches

Golden = Callable[[str, object], None]
TURNS = [(seed, epoch) for seed in (0, 7) for epoch in (0, 1, 5)]


@dataclass(frozen=True)
class Keyed:
    """A sample of which only the key counts."""

    key: str


@dataclass(frozen=True)
class KeyBuilder:
    """Builds of a sample its key."""

    seed: int

    def build(self, sample: TarSample, epoch: int) -> Keyed | Unusable:
        return Keyed(sample.key)


def plain(lanes: tuple[Lane, ...]) -> list[list[list[int]]]:
    return [[[s.shard, s.start, s.stop, s.copy] for s in lane] for lane in lanes]


def test_the_lanes_of_an_epoch_are_dealt_as_they_were(golden: Golden) -> None:
    mixtures = {
        "one": [ShardRange(0, ((0, 6), (1, 7), (2, 5), (3, 1)))],
        "two": [ShardRange(0, ((0, 6), (1, 7)), 1.5), ShardRange(1, ((2, 20), (3, 4)), 0.25)],
    }
    found = {}
    for name, parts in mixtures.items():
        for seed, epoch in TURNS:
            segments = [segment for part in parts for segment in part.segments(seed, epoch)]
            found[f"{name}, seed {seed}, epoch {epoch}"] = plain(deal(segments, 3, seed, epoch))
    golden("lanes", found)


def test_windows_are_permuted_as_they_were(golden: Golden) -> None:
    found = {}
    for seed, epoch in TURNS:
        windows = [window_at(place, 19, 8, seed, epoch, 2) for place in (0, 8, 16)]
        found[f"seed {seed}, epoch {epoch}"] = [[window.start, window.places.tolist()] for window in windows]
    golden("windows", found)


def test_the_steps_of_a_small_data_set_are_what_they_were(tmp_path: Path, golden: Golden) -> None:
    write_shards(tmp_path, [6, 0, 7, 5])
    data_set = open_data_set((str(tmp_path),))
    num_lanes, batch_pairs, num_steps = 3, 6, 4  # the last step begins the lanes again
    found = {}
    for seed, epoch in TURNS:
        lanes = [
            LaneReader(
                LaneRows(data_set, lane, TarFiles(1, 0), BufferPool()),
                KeyBuilder(seed),
                4,
                (epoch, number),
                LaneCursor(),
            )
            for number, lane in enumerate(data_set.lanes(num_lanes, seed, epoch))
        ]
        each = batch_pairs // num_lanes
        steps = [[[made.key for made in islice(lane, each)] for lane in lanes] for _ in range(num_steps)]
        found[f"seed {seed}, epoch {epoch}"] = steps
    golden("steps", found)
    assert data_set.steps_per_epoch(batch_pairs, num_lanes) == 3
    assert steps_per_epoch(1000, 17, 64, 16) == 15
    assert [list(lanes_of_rank(rank, 2, 6)) for rank in (0, 1)] == [[0, 2, 4], [1, 3, 5]]


def test_what_is_drawn_for_a_sample_is_what_it_was(golden: Golden) -> None:
    counters: list[tuple[object, ...]] = [
        ("crop", 0, 0, "000000001"),
        ("crop", 7, 3, "000000001"),
        ("caption", 0, 0, "000000001"),
        ("patches", 0, 0, "000000001\x001"),
        ("crop", 0, 0, "a/ä熊\udc80"),
    ]
    draws = [str(draw(*counter)) for counter in counters]
    golden("draws", {"draws": draws, "permutation": permutation(12, "shards", 0, 0).tolist()})


def test_the_patches_that_a_step_sees_are_what_they_were(golden: Golden) -> None:
    golden("patches", kept_patches([0, 1, 2**64 - 1], 16, 6).tolist())
