"""openwit build-dataset: from the query list and a crawl's WAT files to WebDataset shards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from datagen import line
from datagen.config import CrawlConfig
from datagen.crawl import crawl
from datagen.funnel import funnel
from openwit import stage
from openwit.manifest import Manifest
from openwit.run import Run
from pipelines.recipes import Recipe
from pipelines.serve_web import built, web_folder
from pipelines.session import Invocation, open_run, require


def command(invocation: Invocation) -> None:
    """Builds shards/ and prints the funnel."""
    recipe = invocation.recipe
    require(invocation, "queries", "queries")
    with open_run(invocation, recipe.executor) as run:
        if recipe.embedded:
            built(invocation)
        matched = line.match_candidates(run, recipe.sources, recipe.candidates)
        selected = line.select_pairs(run, matched, recipe.cap, recipe.candidates.num_partitions)
        with _web(invocation, run, selected):
            line.crawl_images(run, selected, crawl_config(recipe))
        for row in funnel(invocation.work):
            invocation.log.say(str(row))


def crawl_config(recipe: Recipe) -> CrawlConfig:
    """The recipe's; where the web is the embedded one, its hosts are reached at its port and nowhere else."""
    if not recipe.embedded:
        return recipe.crawl
    return dataclasses.replace(recipe.crawl, connect_to=(f"*.test=127.0.0.1:{recipe.web.port}",))


@contextlib.contextmanager
def _web(invocation: Invocation, run: Run, selected: Manifest) -> Iterator[None]:
    """The embedded web answers while there is something to fetch from it."""
    recipe = invocation.recipe
    plan = stage.plan(crawl.STAGE, crawl_config(recipe), line.crawl_sources(run, selected), run.folder("shards"))
    if not recipe.embedded or not plan.todo or invocation.dry_run:
        yield
        return
    from pipelines.demo_web.server import running

    with running(web_folder(invocation), recipe.web.port):
        yield
