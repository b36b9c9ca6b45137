"""From a command line's invocation to a run of the floor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from openwit.executor import ExecutorConfig
from openwit.run import NotYet, Run
from pipelines.cli import Invocation


@contextlib.contextmanager
def opened(invocation: Invocation, executor: ExecutorConfig) -> Iterator[Run]:
    """The command's run; a dry run ends here where a stage has something to do."""
    run = Run(invocation.work, invocation.recipe.name, executor, invocation.log, invocation.dry_run)
    with run:
        try:
            yield run
        except NotYet as stage:
            invocation.log.say(f"what follows {stage} is planned when it is done; nothing was changed")
