"""Starts a training on this machine through torchrun, shows how it goes, and says what went wrong in one line.

Light: torch is imported by the processes that it starts only, so a finished job is answered at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from openwit import storage
from openwit.errors import ConfigError, InputError, OpenwitError, WorkError
from openwit.log import Log
from train import main as rank_main
from train.checkpoint_files import latest, steps
from train.config import AnyTrainingConfig
from train.job import RECORD, Job, Record, make_record, on_this_machine, read_record, require_same, write_record
from train.metrics import LiveLine, last_record
from train.order import steps_per_epoch
from train.shards import open_data_set

__all__ = ["Job", "launch"]

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = "torchrun.log"
STOP_S = 10.0


def launch(job: Job, log: Log) -> None:
    """Trains the job to its last step, from its last checkpoint where there is one.

    Raises ConfigError where the folder holds checkpoints of another job, or the data set is smaller than a global
    batch; InputError where data are missing; WorkError where training failed: the same command goes on.
    """
    job = on_this_machine(job)
    config = job.config
    record = make_record(job)
    done = _done_steps(record)
    data_set = open_data_set(job.data, job.exclusions)
    per_epoch = steps_per_epoch(
        data_set.num_samples, len(data_set.excluded), config.batch_pairs, config.stream.num_lanes
    )
    num_steps = config.num_steps(per_epoch)
    if done == num_steps:
        log.say(f"{config.command}: {done}/{num_steps} steps done before")
        return
    log.say(
        f"{config.command}: {num_steps} steps of {config.batch_pairs} pairs from {data_set.num_samples:,} samples "
        f"({per_epoch} steps an epoch) on {config.ranks} ranks" + (f", from step {done}" if done else "")
    )
    url = write_record(record)
    log.event(f"{config.section}_start", step=done, ranks=config.ranks, data=job.data)
    _run(job, url, LiveLine(log.stream, config.command, num_steps))
    log.event(f"{config.section}_done", step=num_steps)


def _done_steps(record: Record) -> int:
    """The step of the newest checkpoint. Raises ConfigError where it is another job's."""
    job = record.job
    if latest(job.checkpoints) is None:
        return 0
    try:
        before = read_record(storage.join(job.out, RECORD))
    except InputError:
        raise ConfigError(
            f"{job.out}: has checkpoints but no {RECORD}; take another --work, or delete the folder"
        ) from None
    require_same(before, record)
    return steps(job.checkpoints)[-1]


def _run(job: Job, url: str, line: LiveLine) -> None:
    output = Path(storage.local_path(job.out)) / OUTPUT
    with tempfile.TemporaryDirectory(prefix="openwit-") as failures, output.open("ab") as sink:
        start = sink.tell()
        process = subprocess.Popen(
            _command(job.config, url),
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            cwd=ROOT,
            env=_environment(job.config, failures),
            start_new_session=True,
        )
        try:
            code = _follow(process, job, line)
        finally:
            _stop(process)
        if code:
            raise _failure(job.config.command, Path(failures), output, start)


def _command(config: AnyTrainingConfig, url: str) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    return [*torchrun, f"--nproc-per-node={config.ranks}", "-m", "train.main", "--config", url]


def _environment(config: AnyTrainingConfig, failures: str) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // config.ranks)), **os.environ}
    if config.device == "cpu" and sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the host's name may resolve to no address of this machine
    return environment | {rank_main.LAUNCHED: "1", rank_main.FAILURES: failures, "PYTHONPATH": str(ROOT)}


def _follow(process: subprocess.Popen[bytes], job: Job, line: LiveLine) -> int:
    """Shows the newest metrics until the process ends; its exit code."""
    before = last_record(Path(storage.local_path(job.metrics)))
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        record = last_record(Path(storage.local_path(job.metrics)))
        if record is not None and record != before:
            line.show(record)
        if process.returncode is not None:
            return process.returncode


def _stop(process: subprocess.Popen[bytes]) -> None:
    """No process is left, whatever ended the run. Ranks leave when their standard input ends, torchrun after them."""
    assert process.stdin is not None
    process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failure(command: str, failures: Path, output: Path, start: int) -> OpenwitError:
    """The first rank's own error; where there is none, that a process was killed."""
    notes = sorted((json.loads(path.read_text()) for path in failures.glob("*.json")), key=lambda note: note["unix_s"])
    own = {kind.__name__: kind for kind in (ConfigError, InputError, WorkError)}
    for note in notes:
        if note["kind"] in own:
            return own[note["kind"]](note["message"])
    with output.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    what = "a process was killed (out of memory, or from outside)"
    if notes and "SIGKILL" not in text:
        what = f"rank {notes[0]['rank']}: {notes[0]['message']}"
    return WorkError(f"{command}: {what}; the same command goes on from the last checkpoint; see {output}")
