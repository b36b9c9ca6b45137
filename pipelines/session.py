"""From a command line's invocation to a run of the floor.

The command line of a command that takes paths instead of a recipe.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from openwit import storage
from openwit.errors import ConfigError, InputError
from openwit.executors.executor import ExecutorConfig
from openwit.log.events import Log
from openwit.manifest import MANIFEST
from openwit.run import NotYet, Run
from openwit.stage import Plan
from pipelines.recipes import Recipe, default_work


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What the user asked for: a recipe with its overrides, in a work folder."""

    recipe: Recipe
    work: str
    log: Log
    dry_run: bool
    as_json: bool
    resume: bool
    options: Mapping[str, str] = field(default_factory=dict)  # of the command alone (cli.OPTIONS); "" where not given


def carry_out(command: Callable[[Invocation], None], invocation: Invocation) -> None:
    """Runs the command; a dry run ends where a stage has something to do."""
    try:
        command(invocation)
    except NotYet as what:
        invocation.log.say(f"what follows {what} is planned when it is done; nothing was changed")


def open_run(
    invocation: Invocation, executor: ExecutorConfig, on_plan: Callable[[Plan[Any]], None] | None = None
) -> Run:
    """The command's run; use it as a context."""
    return Run(invocation.work, invocation.recipe.name, executor, invocation.log, invocation.dry_run, on_plan)


def require(invocation: Invocation, folder: str, command: str) -> None:
    """Raises InputError, naming the command to run first, where a folder of the work folder is not finished."""
    if storage.exists(storage.join(invocation.work, folder, MANIFEST)):
        return
    if invocation.dry_run:
        raise NotYet(f"{command} (it makes {folder}/)")
    raise InputError(f"{invocation.work}: has no finished {folder}/; run {command_line(invocation, command)} first")


def command_line(invocation: Invocation, command: str) -> str:
    """What to type for another command of the same recipe in the same work folder."""
    name, work = invocation.recipe.name, invocation.work
    return f"openwit {command} {name}" + ("" if work == default_work(name) else f" --work {shlex.quote(work)}")


class Arguments(argparse.ArgumentParser):
    """A parser whose complaints are errors of one line, as those of all commands."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            f"openwit {command}", description=description, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.format_usage()}")
