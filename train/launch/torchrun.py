"""Starts a training on this machine through torchrun, shows how it goes, and says what went wrong in one line.

Light: torch is imported by the processes that it starts only, so a finished job is answered at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from openwit import storage
from openwit.errors import ConfigError, InputError, OpenwitError, WorkError
from openwit.log.events import Log
from train import rank_main
from train.checkpoints.layout import latest, steps
from train.config import AnyTrainingConfig
from train.data.dataset import open_data_set
from train.job import RECORD, Job, JobRecord, make_record, on_this_machine, read_record, require_same, write_record
from train.launch.nodes import RankErrors, meeting_options, on_loopback, open_rank_errors, output_name
from train.launch.preemption import SignalForwarder
from train.metrics.metrics import LiveLine, last_record

__all__ = ["Begun", "Job", "begin", "launch"]

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A job that has steps to do, with its record written."""

    job: Job
    record_url: str
    num_steps: int


def launch(job: Job, log: Log) -> None:
    """Trains the job to its last step, from its last checkpoint where there is one. With several nodes, each of them
    calls it with the same job, and all end alike.

    Raises ConfigError where the folder holds checkpoints of another job, or the data set is smaller than a global
    batch; InputError where data are missing; WorkError where training failed, or Stopped where SIGTERM stopped it: the
    same command goes on.
    """
    begun = begin(job, log)
    if begun is None:
        return
    _run(begun.job, begun.record_url, LiveLine(log.stream, job.config.command, begun.num_steps))
    log.event(f"{job.config.section}_done", step=begun.num_steps)


def begin(job: Job, log: Log) -> Begun | None:
    """The job as its ranks take it up, announced and recorded; None where all its steps are done. Raises as `launch`
    does before anything is started."""
    job = on_this_machine(job)
    config = job.config
    record = make_record(job)
    done = _done_steps(record)
    data_set = open_data_set(job.data, job.exclusions)
    per_epoch = data_set.steps_per_epoch(config.batch_pairs, config.stream.num_lanes)
    num_steps = config.num_steps(per_epoch)
    if done == num_steps:
        log.say(f"{config.command}: {done}/{num_steps} steps done before")
        return None
    ranks = f"{config.ranks} ranks" + (f" of each of {config.nodes} nodes" if config.nodes > 1 else "")
    log.say(
        f"{config.command}: {num_steps} steps of {config.batch_pairs} pairs from {data_set.num_samples:,} samples "
        f"({per_epoch} steps an epoch) on {ranks}" + (f", from step {done}" if done else "")
    )
    log.event(f"{config.section}_start", step=done, ranks=config.ranks, nodes=config.nodes, data=job.data)
    return Begun(job=job, record_url=write_record(record), num_steps=num_steps)


def _done_steps(record: JobRecord) -> int:
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
    output = Path(job.here) / output_name(job.config)
    output.parent.mkdir(parents=True, exist_ok=True)
    with open_rank_errors(job, everywhere=job.config.nodes > 1) as errors, output.open("ab") as sink:
        start = sink.tell()
        process = subprocess.Popen(
            _command(job, url),
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            cwd=ROOT,
            env=_environment(job.config, errors.folder),
            start_new_session=True,
        )
        try:
            with SignalForwarder(process) as forwarder:
                code = _follow(process, job, line, forwarder)
        finally:
            _stop(process)
        if error := errors.stopped():
            raise error
        if code:
            raise _failure(job.config.command, errors, output, start)


def _command(job: Job, url: str) -> list[str]:
    unmoved = ["/bin/sh", "-c", 'trap "" TERM; exec "$@"', "sh"]  # SLURM signals all: only the ranks are to answer
    torchrun = [*unmoved, sys.executable, "-m", "torch.distributed.run", *meeting_options(job)]
    torchrun += ["--signals-to-handle=SIGINT,SIGHUP,SIGQUIT"]
    return [*torchrun, f"--nproc-per-node={job.config.ranks}", "-m", "train.rank_main", "--config", url]


def _environment(config: AnyTrainingConfig, errors: Path) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // config.ranks)), **os.environ}
    if sys.platform == "linux" and on_loopback(config):
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the host's name may resolve to no address of this machine
    return environment | {rank_main.LAUNCHED: "1", rank_main.ERRORS_FOLDER: str(errors), "PYTHONPATH": str(ROOT)}


def _follow(process: subprocess.Popen[bytes], job: Job, line: LiveLine, forwarder: SignalForwarder) -> int:
    """Shows the newest metrics until the process ends; its exit code."""
    before = last_record(Path(job.metrics))
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        forwarder.require_patience()
        record = last_record(Path(job.metrics))
        if record is not None and record != before:
            line.show(record)
        if process.returncode is not None:
            return process.returncode


def _stop(process: subprocess.Popen[bytes]) -> None:
    """No process is left, whatever ended the run. Ranks leave when their standard input ends, torchrun after them."""
    assert process.stdin is not None
    process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failure(command: str, errors: RankErrors, output: Path, start: int) -> OpenwitError:
    """The first rank's own error; where there is none, that a process was killed."""
    if error := errors.error():
        return error
    with output.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    records = errors.records()
    what = "a process was killed (out of memory, or from outside)"
    if records and "SIGKILL" not in text:
        what = f"rank {records[0]['rank']}: {records[0]['message']}"
    return WorkError(f"{command}: {what}; the same command goes on from the last checkpoint; see {output}")
