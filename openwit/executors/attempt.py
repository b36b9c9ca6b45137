"""One attempt at a task, in whatever process: an error comes back as a value, with its text."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from openwit.errors import ConfigError, InputError, OpenwitError, one_line

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Failure:
    """Why a task did not succeed: one line, and the traceback for the log."""

    error: str
    traceback: str = ""
    final: bool = False  # trying again cannot help
    bad_input: bool = False  # the fault lies in what the user gave


def run_attempt(function: Callable[[T], R], task: T) -> R | Failure:
    """Runs in the worker: an error comes back as a value, with its text."""
    try:
        return function(task)
    except OpenwitError as error:
        bad_input = isinstance(error, (ConfigError, InputError))
        return Failure(str(error), traceback.format_exc(), final=True, bad_input=bad_input)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f" (writing {error.filename})" if error.filename else ""
        text = f"no space left on the disk{where}" if full else f"{type(error).__name__}: {error}"
        return Failure(one_line(text), traceback.format_exc(), final=full)
    except Exception as error:  # the boundary to the user's run: reported by name, retried, never swallowed
        return Failure(one_line(f"{type(error).__name__}: {error}"), traceback.format_exc())
