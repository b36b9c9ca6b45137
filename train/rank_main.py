"""One rank of a training:  torchrun --nproc-per-node N -m train.rank_main --config FOLDER/config.json"""

from __future__ import annotations

import argparse
import gc
import json
import os
import select
import sys
import threading
import time
import traceback
from pathlib import Path

from openwit.errors import OpenwitError
from train.launch import preemption

LAUNCHED = "OPENWIT_LAUNCHED"  # set where standard input is a pipe that the launcher holds open while it lives
ERRORS_FOLDER = "OPENWIT_RANK_ERRORS"  # folder for error files, one a rank


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0, 1 for failed work, 2 for the user's mistakes."""
    parser = argparse.ArgumentParser(prog="train.rank_main", description=__doc__)
    parser.add_argument("--config", required=True, help="the config.json of a training's folder")
    url = parser.parse_args(arguments).config
    preemption.listen()
    _leave_with_parents()
    return carry_out(url)


def carry_out(url: str) -> int:
    """Trains as a rank of the job at the URL, and reports what went wrong; the exit code."""
    try:
        _train(url)
    except preemption.Stopped as stopped:
        _report_error(type(stopped).__name__, str(stopped))
        return 0  # anything else, torchrun would take for a failure
    except OpenwitError as error:
        _report_error(type(error).__name__, str(error))
        return error.exit_code
    except Exception as error:  # the boundary to the launcher, which shows its first line
        traceback.print_exc()
        first_line = next(iter(str(error).strip().splitlines()), "")
        _report_error(type(error).__name__, f"{type(error).__name__}: {first_line}")
        return 1
    return 0


def _train(url: str) -> None:
    from train.job import read_record

    record = read_record(url)
    import torch

    if os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    from train.loop import train
    from train.ranks import join_ranks

    gc.freeze()  # what the imports made stays to the end: no collection has to look at it
    with join_ranks(record.job.config.device, record.job.config.section) as ranks:
        train(record.job, ranks)


def _report_error(kind: str, message: str) -> None:
    """For the launcher and for a person who reads the output."""
    rank = os.environ.get("RANK", "0")
    print(f"rank {rank}: {message}", file=sys.stderr, flush=True)
    if folder := os.environ.get(ERRORS_FOLDER):
        record = {"kind": kind, "message": message, "rank": int(rank), "unix_s": time.time()}
        path = Path(folder) / f"rank-{rank}.part"
        path.write_text(json.dumps(record))
        path.rename(path.with_suffix(".json"))


def _leave_with_parents() -> None:
    """A rank must not outlive torchrun (then its parent changes) nor the launcher (then standard input ends): each
    may be killed without a word. A word from the launcher asks it to stop."""
    parent = os.getppid()
    watched = [sys.stdin] if os.environ.get(LAUNCHED) else []

    def watch() -> None:
        while os.getppid() == parent:
            readable, _, _ = select.select(watched, [], [], 0.5)
            if readable:
                if not os.read(0, 4096):
                    break
                preemption.ask()  # the launcher got SIGTERM
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: other ranks may hang in a collective, and threads in a read
