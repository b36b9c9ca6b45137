"""One command's run: its work folder, executor and log; it carries the command's stages out one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from openwit import manifest as manifests
from openwit import stage as stages
from openwit import storage
from openwit.executors.executor import Executor, ExecutorConfig, open_executor
from openwit.log.events import Log, duration
from openwit.manifest import Manifest
from openwit.stage import NO_LINEAGE, C, Lineage, Source, Stage


class NotYet(Exception):
    """Ends a dry run: what follows can only be planned when this stage is done."""


@dataclass
class Run:
    """Use it as a context; the executor starts with the first stage that has something to do. In a dry run `on_plan`
    hears of each stage's plan; without it, a line says what is done and what is to do."""

    work: str
    recipe: str
    executor_config: ExecutorConfig
    log: Log
    dry_run: bool = False
    on_plan: Callable[[stages.Plan[Any]], None] | None = None
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _executor: Executor | None = None

    def __post_init__(self) -> None:
        self.work = storage.absolute(self.work)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def folder(self, *names: str) -> str:
        """The URL of a folder or file of the work folder."""
        return storage.join(self.work, *names)

    def stage(
        self,
        stage: Stage[C],
        config: C,
        sources: Sequence[Source],
        folder: str,
        lineage: Lineage = NO_LINEAGE,
        in_flight: stages.Live | None = None,
    ) -> Manifest:
        """The manifest of `folder` with every partition done; `in_flight` tells of those that workers are at. In a dry
        run it only says what it would do, and raises NotYet where something is to do. Raises WorkError naming the
        partitions that failed."""
        plan = stages.plan(stage, config, sources, folder)
        if self.dry_run:
            (self.on_plan or self._tell)(plan)
            if plan.todo or not stages.is_complete(plan):
                raise NotYet(stage.name)
            return manifests.read(folder)
        if not plan.todo and stages.is_complete(plan):
            self.log.say(f"{stage.name}: {len(sources)}/{len(sources)} done before")
            return manifests.read(folder)
        return stages.run(plan, self.executor, self.log, recipe=self.recipe, lineage=lineage, in_flight=in_flight)

    @property
    def executor(self) -> Executor:
        """Where tasks run; it starts when it is first asked for."""
        if self._executor is None:
            self._executor = self._closing.enter_context(open_executor(self.executor_config))
        return self._executor

    def _tell(self, plan: stages.Plan[Any]) -> None:
        done, todo = len(plan.done), len(plan.todo)
        rows = sum(part.rows for part in plan.done)
        size = sum(file.bytes for part in plan.done for file in part.files)
        seconds = stages.seconds_of(plan)
        cost = f"; about {duration(seconds * todo)} of one worker" if todo and seconds else ""
        cost = cost or ("; cost unknown until a partition is done" if todo else "")
        self.log.say(f"{plan.stage.name}: {done} done ({rows:,} rows, {size / 1e6:,.1f} MB), {todo} to do{cost}")
