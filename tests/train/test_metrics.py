from __future__ import annotations

import io

from train.metrics import CLOCK_FIELDS, Clock, LiveLine, Metrics, last_record, read_records


def record(step: int) -> dict[str, object]:
    return {"step": step, "loss": 1.5, "step_s": 2.0, "samples_per_s": 96.0, "data_wait_share": 0.25}


def test_lines_after_the_checkpoint_and_a_half_written_one_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, 0)
    for step in range(1, 8):
        metrics.write(step, loss=step / 3)
    with path.open("a") as file:
        file.write('{"step": 8, "lo')
    assert last_record(path)["step"] == 7
    Metrics(path, 5).write(6, loss=0.5)
    assert [(line["step"], line["loss"]) for line in read_records(path)] == [
        *((n, n / 3) for n in range(1, 6)),
        (6, 0.5),
    ]


def test_a_missing_or_empty_file_has_no_records(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_records(path) == []
    assert last_record(path) is None
    path.write_bytes(b"")
    assert last_record(path) is None


def test_a_lap_says_how_long_steps_took_and_what_share_was_waiting():
    clock = Clock()
    clock.step(0.0)
    clock.step(0.0)
    lap = clock.lap(8)
    assert set(lap) == CLOCK_FIELDS - {"unix_s"}
    assert lap["data_wait_share"] == 0.0
    assert clock.num_steps == 0


def test_the_live_line_says_loss_rate_wait_and_time_left_and_repeats_nothing():
    stream = io.StringIO()
    line = LiveLine(stream, "pretrain", 10, every_s=0.0)
    line.show(record(4))
    line.show(record(4))
    line.show(record(10))
    assert stream.getvalue().splitlines() == [
        "pretrain: 4/10  loss 1.5000  96 pairs/s  data wait 25%  ETA 12.0 s",
        "pretrain: 10/10  loss 1.5000  96 pairs/s  data wait 25%",
    ]


def test_between_its_times_only_the_last_step_is_shown():
    stream = io.StringIO()
    line = LiveLine(stream, "pretrain", 10, every_s=1000.0)
    for step in (1, 2, 10):
        line.show(record(step))
    assert len(stream.getvalue().splitlines()) == 1
