from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import msgspec
import psutil
import pytest

from helpers import processes, s3_server
from openwit import storage
from openwit.errors import ConfigError, WorkError
from openwit.storage import work_lock
from openwit.storage.work_lock import Holder, Lease, holding

HOLD = """
import sys, time
from openwit.storage.work_lock import holding
with holding(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def work() -> str:
    return f"memory://{uuid.uuid4().hex}"


def leave(work: str, **changes: object) -> Holder:
    """Another command's lock."""
    holder = dataclasses.replace(Holder.of_this_process(), **changes)  # type: ignore[arg-type]
    storage.write_bytes(f"{work}/.lock", msgspec.json.encode(holder))
    return holder


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_folder_that_is_held_is_refused_and_free_again_afterwards(kind: str, work: str, tmp_path: Path) -> None:
    where = work if kind == "memory" else str(tmp_path / "work")
    for _ in range(2):
        with (
            holding(where),
            pytest.raises(ConfigError, match=rf"--work {where}: another openwit command .*is running") as caught,
            holding(where),
        ):
            pass
        assert len(str(caught.value).splitlines()) == 1


def test_a_folder_is_shared_by_the_nodes_of_one_training_and_by_nobody_else(tmp_path: Path) -> None:
    work, refused = str(tmp_path), pytest.raises(ConfigError, match="another openwit command")
    with holding(work, shared=True), holding(work, shared=True), refused, holding(work):
        pass
    with holding(work), refused, holding(work, shared=True):
        pass


def test_nodes_that_share_a_remote_folder_leave_its_lock_to_others(work: str) -> None:
    with holding(work, shared=True), holding(work, shared=True):
        assert storage.list_sizes(work) == {}


def test_a_remote_folder_holds_nothing_of_a_command_that_has_ended(work: str) -> None:
    with holding(work):
        assert storage.exists(f"{work}/.lock")
    assert not storage.exists(f"{work}/.lock")


def test_who_holds_it_and_how_to_break_it_is_said(work: str) -> None:
    leave(work, host="far.example.org", machine="another", pid=12, renewed=time.time() - 7)
    with pytest.raises(ConfigError) as caught, holding(work):
        pass
    assert "(pid 12 on far.example.org, last sign of life 7 s ago)" in str(caught.value)
    assert str(caught.value).endswith(f"passed over 120 s after its last sign of life, or delete {work}/.lock")


@pytest.mark.parametrize(
    ("changes", "is_gone"),
    [
        ({}, False),
        ({"pid": 2**22 + 1}, True),  # more than there are
        ({"pid": 2**22 + 1, "machine": "another"}, False),
        ({"machine": "another", "renewed": 0.0}, True),
        ({"renewed": 0.0}, True),
    ],
)
def test_a_lock_is_broken_where_its_process_is_gone_or_has_long_been_silent(
    changes: dict[str, object], is_gone: bool, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_lock, "_SETTLE_S", 0.0)
    leave(work, **changes)
    if is_gone:
        with holding(work):
            pass
    else:
        with pytest.raises(ConfigError), holding(work):
            pass


@pytest.mark.parametrize(("silent_s", "is_gone"), [(-2.0, False), (1.0, True)])
def test_a_lock_counts_for_two_minutes_after_its_last_sign_of_life(silent_s: float, is_gone: bool) -> None:
    holder = Holder.of_this_process()
    assert work_lock.STALE_S == 120.0
    there = dataclasses.replace(holder, machine="another", renewed=time.time() - work_lock.STALE_S - silent_s)
    assert there.is_gone() == is_gone


def test_a_lock_is_renewed_while_it_is_held(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_lock, "RENEW_S", 0.05)

    def renewed() -> float:
        return msgspec.json.decode(storage.read_bytes(f"{work}/.lock"), type=Holder).renewed

    with holding(work):
        first = renewed()
        processes.wait_until(lambda: renewed() > first, 10)
        assert renewed() > first


def test_a_command_whose_lock_another_took_over_stops_and_leaves_it_alone(
    work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_lock, "RENEW_S", 0.05)

    def be_overtaken() -> None:
        with holding(work):
            for _ in range(100):  # a renewal that had begun may write over one
                leave(work, id="another", pid=77, host="other")
                time.sleep(0.1)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    try:
        with pytest.raises(WorkError, match=rf"{work}: was taken over by pid 77 on other; this command"):
            be_overtaken()
    finally:
        signal.signal(signal.SIGINT, before)
    assert msgspec.json.decode(storage.read_bytes(f"{work}/.lock"), type=Holder).id == "another"


def test_what_is_no_lock_is_named(work: str) -> None:
    storage.write_bytes(f"{work}/.lock", b"notes")
    with pytest.raises(ConfigError, match=rf"{work}/.lock: is no lock of openwit; delete it"), holding(work):
        pass


def test_a_lock_whose_answer_was_lost_is_ours_all_the_same(work: str) -> None:
    lease = Lease(work, signal.SIGINT)
    storage.write_bytes(f"{work}/.lock", msgspec.json.encode(lease.me))
    lease.take()
    lease.give_back()
    assert not storage.exists(f"{work}/.lock")


def test_on_an_object_store_one_command_of_two_runs_and_a_killed_one_bars_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = s3_server.running()
    server.use(monkeypatch)
    work, log = f"{server.new_bucket()}/run", tmp_path / "log"
    first = processes.start(["-c", HOLD, work], log)
    processes.wait_until(lambda: "held" in log.read_text())
    second = processes.start(["-c", HOLD, work], tmp_path / "refused")
    assert second.wait(timeout=60) != 0
    assert f"another openwit command (pid {first.pid} on " in (tmp_path / "refused").read_text()
    processes.kill(first.pid)
    first.wait()
    with holding(work):
        lease = msgspec.json.decode(storage.read_bytes(f"{work}/.lock"), type=Holder)
        assert lease.pid == os.getpid()


def test_a_zombie_is_no_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    processes.wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, 10)
    assert dataclasses.replace(Holder.of_this_process(), pid=child.pid).is_gone()
    child.wait()
