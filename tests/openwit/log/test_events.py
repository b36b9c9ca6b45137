from __future__ import annotations

import io
import json
import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.log.events import NOTHING, InFlight, LineProgress, Log, duration, short, speed, summary


def test_each_event_is_one_json_line_even_from_many_threads(tmp_path: Path) -> None:
    log = Log(tmp_path / "deep" / "log.jsonl")
    text = "line\nbreak ü " + "x" * 20_000

    def write(writer: int) -> None:
        for number in range(20):
            log.event("tick", writer=writer, number=number, text=text, path=tmp_path)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [json.loads(line) for line in (tmp_path / "deep" / "log.jsonl").read_text().splitlines()]
    assert Counter(event["writer"] for event in events) == {0: 20, 1: 20, 2: 20, 3: 20}
    assert all(event["text"] == text and event["event"] == "tick" and event["time"] > 0 for event in events)


def test_a_log_without_a_path_keeps_events_to_itself(tmp_path: Path) -> None:
    Log(None, io.StringIO()).event("tick")
    assert list(tmp_path.iterdir()) == []


def test_say_writes_one_line_to_the_stream() -> None:
    stream = io.StringIO()
    Log(None, stream).say("queries: 3 of 4")
    assert stream.getvalue() == "queries: 3 of 4\n"


def test_progress_in_a_pipe_ends_with_done_total_rate_and_counts() -> None:
    stream = io.StringIO()
    with Log(None, stream).progress("crawl", total=3) as progress:
        progress.advance(counts={"in": 5, "kept": 3, "dropped.http_404": 2})
        progress.advance(2, counts={"in": 5, "kept": 4, "dropped.timeout": 1})
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("crawl: 3/3 in ")
    assert line.endswith("/s  in 10, kept 7 (http_404 2, timeout 1)")


def test_progress_shows_an_eta_while_something_is_left() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream, "crawl", total=4, done=1, every_s=0)
    lines.advance()
    assert "crawl: 2/4" in stream.getvalue()
    assert "ETA" in stream.getvalue()


def test_a_resumed_stage_shows_the_counts_of_all_its_partitions_and_the_rate_of_this_run() -> None:
    stream = io.StringIO()
    with Log(None, stream).progress(
        "match", total=90_000, done=89_999, counts={"in": 10**6, "kept": 10**6}
    ) as progress:
        progress.advance(counts={"in": 10, "kept": 7, "dropped.no_alt": 3})
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("match: 90,000/90,000 in ")
    assert line.endswith("  in 1,000,010, kept 1,000,007 (no_alt 3)")


def test_lines_come_more_seldom_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = LineProgress(stream, "match", total=90_000, done=0)
    for _ in range(86_400):
        now[0] += 1.0
        lines.advance()
    shown = stream.getvalue().splitlines()
    assert 100 < len(shown) < 500
    assert shown[0] == "match: 10/90,000 (0%) in 10.0 s, 1/s, ETA 24 h 59 min"


@pytest.mark.parametrize(("per_s", "text"), [(250.0, "250/s"), (0.5, "30/min"), (0.001, "3.6/h")])
def test_a_slow_rate_is_told_by_the_minute_or_hour(per_s: float, text: str) -> None:
    assert speed(per_s) == text


def test_progress_of_what_was_done_before_says_so() -> None:
    stream = io.StringIO()
    with Log(None, stream).progress("match", total=7, done=7):
        pass
    assert stream.getvalue() == "match: 7/7 done before\n"


def test_progress_on_a_terminal_is_a_live_bar_with_eta_and_counts() -> None:
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as terminal:
        with Log(None, terminal).progress("crawl", total=2) as progress:
            progress.advance(counts={"in": 1234, "kept": 1000})
            progress.advance(counts={"in": 1, "kept": 1})
        shown = b""
        while b"ETA" not in shown or b"2/2" not in shown:  # a terminal hands its text over in pieces
            shown += os.read(leader, 1 << 16)
    os.close(leader)
    assert b"crawl" in shown
    assert b"kept 81.1% of 1,235" in shown


def test_an_error_inside_progress_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Log(None, io.StringIO()).progress("x", total=1):
        raise KeyError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.97, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(0, 1e9))
def test_durations_never_show_sixty_of_a_unit(seconds: float) -> None:
    assert not any(name in f" {duration(seconds)}" for name in (" 60.0 s", " 60 s", " 60 min"))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (9999, "9,999"), (12_345, "12.3k"), (4_567_890, "4.57M"), (42 * 10**9, "42.0G")]
)
def test_large_numbers_are_short_beside_a_bar(number: int, text: str) -> None:
    assert short(number) == text


def test_the_summary_names_the_five_commonest_reasons_without_rows_that_were_tried_again() -> None:
    counts = Counter({"in": 1000, "kept": 990, "retried.c": 2, **{f"dropped.{n}": k for k, n in enumerate("abcdefg")}})
    assert summary(counts) == "  in 998, kept 990 (g 6, f 5, e 4, d 3, b 1)"
    assert summary(Counter({"in": 3, "kept": 3, "dropped.a": 0})) == "  in 3, kept 3"
    assert summary(Counter()) == ""


def test_a_crawls_progress_tells_rows_and_bytes_and_is_an_event_too(tmp_path: Path) -> None:
    stream = io.StringIO()
    with Log(tmp_path / "log.jsonl", stream).progress(
        "crawl", total=2, done=1, counts={"in": 7, "kept": 7}
    ) as progress:
        progress.advance(counts={"in": 10, "kept": 6, "bytes": 5_000_000, "dropped.timeout": 3, "dropped.dns": 1})
    assert " images/s, 5.00MB  in 17, kept 13 (timeout 3, dns 1)" in stream.getvalue()
    (event,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert event.pop("rows_per_s") > event.pop("kept_per_s") > 0
    del event["time"]
    assert event == {
        "event": "progress", "stage": "crawl", "done": 2, "total": 2, "rows": 17, "kept": 13, "bytes": 5_000_000,
        "dropped": {"timeout": 3, "dns": 1}, "eta_s": 0.0,
    }  # fmt: skip


def test_what_is_under_way_shows_with_what_is_done_in_line_and_event_and_moves_the_eta(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = LineProgress(stream, "crawl", total=4, done=1, log=Log(tmp_path / "log.jsonl"))
    lines.begin({"in": 100, "kept": 90, "dropped.dns": 10, "bytes": 1000})
    now[0] = 20.0
    lines.look(InFlight(1.0, {"in": 100, "kept": 80, "dropped.timeout": 20, "bytes": 3000}))
    told = "5 rows/s, 4 images/s, 4,000B  in 200 (100 in flight), kept 170 (timeout 20, dns 10)"
    assert stream.getvalue() == f"crawl: 1/4 (50%) in 20.0 s, 3/min, ETA 40.0 s, {told}\n"
    (event,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert (event["done"], event["rows"], event["rows_in_flight"], event["kept"]) == (1, 200, 100, 170)
    assert (event["kept_per_s"], event["eta_s"], event["bytes"]) == (4.0, 40.0, 4000)
    lines.look(NOTHING)
    lines.advance(3, {"in": 100, "kept": 79, "dropped.timeout": 21, "bytes": 3000})
    lines.finish()
    assert stream.getvalue().splitlines()[-1].endswith("in 200, kept 169 (timeout 21, dns 10)")


def test_the_terminals_bar_moves_within_a_step() -> None:
    leader, follower = os.openpty()
    told = [InFlight(0.5, {"in": 100, "kept": 75, "bytes": 10_000, "dropped.dns": 25})]
    shown = b""
    with os.fdopen(follower, "w") as terminal:
        with Log(None, terminal).progress("crawl", total=1, in_flight=lambda: told[0]) as progress:
            while b"kept 75.0% of 100" not in shown:
                shown += os.read(leader, 1 << 16)
            progress.advance(counts={"in": 200, "kept": 150})
        while b"1/1" not in shown:
            shown += os.read(leader, 1 << 16)
    os.close(leader)
    assert b"0/1" in shown
    assert b"dns 25" in shown


def test_the_last_line_holds_only_what_is_done() -> None:
    stream = io.StringIO()
    with Log(None, stream).progress(
        "crawl", total=1, in_flight=lambda: InFlight(0.9, {"in": 9, "kept": 9})
    ) as progress:
        time.sleep(1.3)
        progress.advance(counts={"in": 10, "kept": 10})
    assert stream.getvalue().splitlines()[-1].endswith("  in 10, kept 10")
