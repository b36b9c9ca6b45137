"""openwit build-dataset: from the query list and a crawl's WAT files to WebDataset shards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from datagen import line
from datagen.config import CrawlConfig, RetryConfig
from datagen.crawl import crawl
from datagen.funnel import funnel
from openwit import stage, storage
from openwit.manifest import Manifest
from openwit.run import NotYet, Run
from pipelines.forecast import find_files, forecast
from pipelines.recipes import Recipe
from pipelines.serve_web import built, web_folder
from pipelines.session import Invocation, command_line, open_run, require


def command(invocation: Invocation) -> None:
    """Builds selected/ and, unless the recipe ends there, shards/, and prints the funnel; a dry run, the cost."""
    if invocation.dry_run:
        _forecast(invocation)
        return
    with open_run(invocation, invocation.recipe.executor) as run:
        _build(invocation, run)
    for row in funnel(invocation.work):
        invocation.log.say(str(row))
    if invocation.recipe.until == "selected":
        stats = command_line(invocation, "stats")
        invocation.log.say(f"{stats} shows it; without --until the pictures are fetched")


def _build(invocation: Invocation, run: Run) -> None:
    recipe = invocation.recipe
    reasons = invocation.options.get("retry")
    retry = RetryConfig(reasons=tuple(reasons.split(","))) if reasons else None
    require(invocation, "queries", "queries")
    if recipe.until == "shards" and not invocation.dry_run and not crawl_config(recipe).connect_to:
        recipe.crawl.require_contact()  # before hours of matching, not after them
    if recipe.embedded:
        built(invocation)
    matched = line.match_candidates(run, recipe.sources, recipe.candidates)
    selected = line.select_pairs(run, matched, recipe.shuffle, recipe.cap)
    if recipe.until == "shards":
        with _web(invocation, run, selected):
            if retry:
                line.retry_images(run, selected, crawl_config(recipe), retry)
            else:
                line.crawl_images(run, selected, crawl_config(recipe))


def _forecast(invocation: Invocation) -> None:
    """Says what is done, what is to do and what it costs, also where the query list or the path list is not there."""
    plans: list[stage.Plan[Any]] = []
    if invocation.recipe.embedded:
        built(invocation)
    files = find_files(invocation.recipe.sources)
    begun = storage.exists(storage.join(invocation.work, "matched"))
    if files.listed and begun:  # to plan is to ask for every file's identity
        with contextlib.suppress(NotYet), open_run(invocation, invocation.recipe.executor, plans.append) as run:
            _build(invocation, run)
    for text in forecast(invocation.recipe, invocation.work, files, plans):
        invocation.log.say(text)
    invocation.log.say("nothing was changed")


def crawl_config(recipe: Recipe) -> CrawlConfig:
    """The recipe's; where the web is the embedded one, its hosts are reached at its port and nowhere else."""
    if not recipe.embedded:
        return recipe.crawl
    return dataclasses.replace(recipe.crawl, connect_to=(f"*.test=127.0.0.1:{recipe.web.port}",))


@contextlib.contextmanager
def _web(invocation: Invocation, run: Run, selected: Manifest) -> Iterator[None]:
    """The embedded web answers while there is something to fetch from it."""
    recipe = invocation.recipe
    rounds = line.crawl_rounds(run, selected, crawl_config(recipe))
    plan = stage.plan(crawl.STAGE, rounds.config, rounds.sources(), run.folder("shards"))
    if not recipe.embedded or invocation.dry_run or not (plan.todo or invocation.options.get("retry")):
        yield
        return
    from pipelines.demo_web.server import running

    with running(web_folder(invocation), recipe.web.port):
        yield
