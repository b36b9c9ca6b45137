from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.metrics.metrics import (
    CLOCK_FIELDS,
    Clock,
    LiveLine,
    Metrics,
    Work,
    batch_digest,
    key_sum,
    last_record,
    of_all_ranks,
    read_records,
)


def record(step: int) -> dict[str, object]:
    return {"step": step, "loss": 1.5, "step_s": 2.0, "samples_per_s": 96.0, "data_wait_share": 0.25}


def test_lines_after_the_checkpoint_and_a_half_written_one_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, 0)
    for step in range(1, 8):
        metrics.write(step, loss=step / 3)
    with path.open("a") as file:
        file.write('{"step": 8, "lo')
    assert last_record(path)["step"] == 7  # type: ignore[index]
    Metrics(path, 5).write(6, loss=0.5)
    assert [(line["step"], line["loss"]) for line in read_records(path)] == [
        *((n, n / 3) for n in range(1, 6)),
        (6, 0.5),
    ]


def test_a_missing_or_empty_file_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_records(path) == []
    assert last_record(path) is None
    path.write_bytes(b"")
    assert last_record(path) is None


def test_a_lap_says_how_long_steps_took_how_many_pairs_a_second_and_what_share_was_waiting() -> None:
    clock = Clock()
    for _ in range(4):
        clock.step()
    clock.started -= 10.0  # as if the lap had begun ten seconds ago
    lap = clock.lap(64, waited_s=4.0)
    assert set(lap) == {"step_s", "samples_per_s", "data_wait_share"} < CLOCK_FIELDS
    assert 2.5 <= lap["step_s"] < 4.0
    assert lap["samples_per_s"] * lap["step_s"] == pytest.approx(64, rel=0.01)
    assert lap["data_wait_share"] * lap["step_s"] * 4 == pytest.approx(4.0, rel=0.01)
    assert clock.num_steps == 0


def test_time_that_is_left_out_belongs_to_no_step() -> None:
    clock = Clock()
    clock.step()
    clock.started -= 100.0  # as if the lap had begun a hundred seconds ago
    clock.leave_out(60.0)
    assert 40.0 <= clock.lap(8, waited_s=0.0)["step_s"] < 100.0


def test_of_all_ranks_the_middle_the_slowest_and_the_worst_are_told() -> None:
    works = [Work(0.2, 0.1, 1.0), Work(0.9, 0.0, 3.25), Work(0.3, 0.6, 2.0)]
    told = of_all_ranks(works)
    assert told == {"own_s": 0.3, "own_max_s": 0.9, "slowest_rank": 1, "data_wait_worst": 0.6, "memory_gb": 3.25}
    assert set(told) < CLOCK_FIELDS


@given(st.lists(st.text(max_size=5), min_size=1), st.randoms(use_true_random=False), st.integers(1, 4))
def test_a_batchs_digest_knows_its_keys_and_neither_their_order_nor_their_ranks(
    keys: Any, chance: Any, num_ranks: int
) -> None:
    def digest(keys: Sequence[str], num_ranks: int) -> str:
        return batch_digest(key_sum(keys[rank::num_ranks]) for rank in range(num_ranks))

    shuffled = chance.sample(keys, len(keys))
    assert digest(shuffled, num_ranks) == digest(keys, 1)
    assert digest([*keys, "one more"], 1) != digest(keys, 1)
    assert digest([*keys[:-1], keys[-1] + "'"], num_ranks) != digest(keys, num_ranks)


def test_a_digest_is_the_same_everywhere() -> None:
    assert batch_digest([key_sum(["000010003", "000010004"])]) == "92566900925e0901"


def test_the_live_line_says_loss_rate_wait_and_time_left_and_repeats_nothing() -> None:
    stream = io.StringIO()
    line = LiveLine(stream, "pretrain", 10, every_s=0.0)
    line.show(record(4))
    line.show(record(4))
    line.show(record(10))
    assert stream.getvalue().splitlines() == [
        "pretrain: 4/10  loss 1.5000  96 pairs/s  wait 25%  ETA 12.0 s",
        "pretrain: 10/10  loss 1.5000  96 pairs/s  wait 25%",
    ]


def test_between_its_times_only_the_last_step_is_shown() -> None:
    stream = io.StringIO()
    line = LiveLine(stream, "pretrain", 10, every_s=1000.0)
    for step in (1, 2, 10):
        line.show(record(step))
    assert len(stream.getvalue().splitlines()) == 1


def test_the_live_line_tells_the_mfu_where_it_is_known_and_never_needs_a_second_row() -> None:
    stream = io.StringIO()
    line = LiveLine(stream, "train-detector", 12_345_678, every_s=0.0)
    large = {"step": 12_000_000, "loss": 10.12345, "step_s": 24.0, "samples_per_s": 1234567.8, "data_wait_share": 1.0}
    line.show({**large, "mfu": 0.4512})
    assert "  wait 100%  MFU 45%  ETA 96 d 0 h" in stream.getvalue()
    assert len(stream.getvalue().strip()) <= 100
