"""Limits of time that a busy machine does not break: each is as many times longer as the machine is slower.

A limit is there to end what hangs, so too long a one costs nothing where all is well.
"""

from __future__ import annotations

import os
import time

QUIET_LOOP_S = 0.01  # of `_loop_s` on a quiet core of an old server
ROOM = 2.0  # also where nothing else runs: load is known a while after it has come


def patience(limit_s: float) -> float:
    """The limit for this machine at this moment, in seconds: at least twice what was asked for."""
    return limit_s * max(ROOM, 2.0 * os.getloadavg()[0] / (os.cpu_count() or 1), ROOM * _loop_s() / QUIET_LOOP_S)


def _loop_s() -> float:
    """How long a fixed piece of work takes by the clock on the wall, others' turns at the processor included."""
    started = time.monotonic()
    sum(range(400_000))
    return time.monotonic() - started
