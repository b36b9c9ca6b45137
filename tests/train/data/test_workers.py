from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.places import ROOT
from helpers.processes import wait_until
from helpers.shards import rewritten, write_shards
from helpers.training import CONFIG, batch_loader
from openwit.config import override
from openwit.errors import ConfigError, WorkError
from train.data.batches import Cursor
from train.data.dataset import open_data_set
from train.data.workers import Prefetcher

NUM_STEPS = 9
START = Cursor()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [9, 14, 12])
    with rewritten(folder / "00001.tar") as members:
        members["000010005.jpg"] = b"broken"
    return folder


def batches_of(data: Path, num_processes: int, rank: int = 0, num_ranks: int = 1, start: Cursor = START) -> Any:
    config = override(CONFIG, {"ranks": "1", "stream.processes": str(num_processes)})
    return batch_loader(open_data_set((str(data),)), config, rank, num_ranks, start)


def some(
    data: Path, num_processes: int, rank: int = 0, num_ranks: int = 1, start: Cursor = START, num_steps: int = NUM_STEPS
) -> Any:
    with batches_of(data, num_processes, rank, num_ranks, start) as batches:
        return [next(batches) for _ in range(num_steps)]


@pytest.mark.slow
@pytest.mark.parametrize(("num_processes", "rank", "num_ranks", "done"), [(4, 0, 1, 0), (2, 1, 2, 4)])
def test_batches_are_bit_for_bit_those_of_one_process_from_any_cursor(
    data: Path, num_processes: int, rank: int, num_ranks: int, done: int
) -> None:
    expected = some(data, 1, rank, num_ranks)
    start = expected[done - 1].cursor if done else START
    for fed, made in zip(
        some(data, num_processes, rank, num_ranks, start, NUM_STEPS - done), expected[done:], strict=True
    ):
        assert (fed.keys, fed.epoch, fed.cursor) == (made.keys, made.epoch, made.cursor)
        assert sorted(fed.notices) == sorted(made.notices)
        for part, plain in zip(fed.inputs, made.inputs, strict=True):
            assert torch.equal(part, plain)
            assert part.stride()[1:] == plain.stride()[1:]


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_raised_where_the_batch_is_wanted(tmp_path: Path) -> None:
    write_shards(tmp_path, [8, 8])
    for name in ("00000.tar", "00001.tar"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WorkError, match="none of the 4 samples"):
        some(tmp_path, 2)


@pytest.mark.slow
def test_a_killed_process_ends_the_training_with_a_word(data: Path) -> None:
    with batches_of(data, 2) as batches:
        next(batches)
        process, _ = batches._prefetcher._source._processes
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(WorkError, match="was killed, perhaps for its memory"):
            deque(batches, maxlen=0)


@pytest.mark.slow
@pytest.mark.parametrize("num_taken", [0, 3])
def test_leaving_ends_the_processes(data: Path, num_taken: int) -> None:
    with batches_of(data, 2) as batches:
        processes = batches._prefetcher._source._processes
        while processes[-1].pid is None:
            time.sleep(0.01)
        for _ in range(num_taken):
            next(batches)
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2


RANK = """
import sys, time
from helpers.training import CONFIG, batch_loader
from openwit.config import override
from train.data.batches import Cursor
from train.data.dataset import open_data_set

if __name__ == "__main__":
    config = override(CONFIG, {"ranks": "1", "stream.processes": "2"})
    with batch_loader(open_data_set((sys.argv[1],)), config, 0, 1, Cursor()) as batches:
        next(batches)
        print(*(process.pid for process in batches._prefetcher._source._processes), flush=True)
        time.sleep(600)
"""


@pytest.mark.slow
def test_processes_end_with_a_rank_that_was_killed(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    path = os.pathsep.join(str(ROOT / folder) for folder in ("", "tests"))
    command = [sys.executable, str(script), str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}) as rank:
        pids = [int(pid) for pid in rank.stdout.readline().split()]  # type: ignore[union-attr]
        rank.kill()
    assert len(pids) == 2
    wait_until(lambda: not any(is_alive(pid) for pid in pids))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stream.processes": "0"}, "must be at least 1"),
        ({"stream.processes": "3"}, "must divide the 4 lanes of a rank; write 2"),
        ({"device": "cuda", "stream.decoder": "gpu", "stream.processes": "2"}, "the rank decodes itself; write 1"),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(CONFIG, {"ranks": "1", **changes})


class Counting:
    """Gives the numbers up to its end, then raises; its iterator says when it is closed."""

    def __init__(self, end: int = 1000) -> None:
        self.end, self.num_made, self.is_left, self.closed = end, 0, False, threading.Event()

    def batches(self) -> Iterator[int]:
        try:
            while self.num_made < self.end:
                self.num_made += 1
                yield self.num_made
            raise KeyError("no more")
        finally:
            self.is_left = True

    def close(self) -> None:
        self.closed.set()


class Waiting(Counting):
    """Waits without end until it is closed."""

    def batches(self) -> Iterator[int]:
        self.closed.wait()
        yield from ()


def test_items_come_in_sequence_then_what_the_source_raised() -> None:
    with Prefetcher(Counting(5), 2) as items:
        assert [next(items) for _ in range(5)] == [1, 2, 3, 4, 5]
        with pytest.raises(KeyError, match="no more"):
            next(items)


def test_no_more_are_made_ahead_than_it_may_hold_and_leaving_ends_the_source() -> None:
    source = Counting()
    with Prefetcher(source, 3) as items:
        while source.num_made < 4:
            time.sleep(0.001)
        time.sleep(0.05)
        assert source.num_made == 4  # three ready, and one in the hand
        next(items)
    assert source.closed.is_set()
    assert source.is_left
    assert not items.thread.is_alive()


def test_leaving_does_not_wait_for_a_source_that_waits() -> None:
    with Prefetcher(Waiting(), 1) as items:
        pass
    assert not items.thread.is_alive()
