"""openwit build-dataset: from the query list and a crawl's WAT files to WebDataset shards.

openwit adopt: a data set of the shards that img2dataset wrote into the work folder's shards/.

openwit remove: shards without what somebody asked to be left out, for good.

openwit stats: what was selected and crawled, as a table, JSON, or an HTML page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from datagen import pipeline
from datagen.config import CrawlConfig, RetryConfig
from datagen.crawl import crawl
from datagen.funnel import funnel, funnel_table
from datagen.shards.remove import remove
from datagen.shards.tombstones import Request, read_list
from openwit import stage, storage
from openwit.errors import ConfigError, InputError
from openwit.manifest import MANIFEST, Manifest
from openwit.run import NotYet, Run
from pipelines.commands.serve_web import built, web_folder
from pipelines.cost.dataset import find_files, forecast
from pipelines.recipes import Recipe
from pipelines.session import Invocation, command_line, open_run, require


def run_build_dataset(invocation: Invocation) -> None:
    """Builds selected/ and, unless the recipe ends there, shards/, and prints the funnel; a dry run, the cost."""
    if invocation.dry_run:
        _forecast(invocation)
        return
    with open_run(invocation, invocation.recipe.executor) as run:
        _build(invocation, run)
    invocation.log.say(funnel_table(funnel(invocation.work)))
    if invocation.recipe.until == "selected":
        stats = command_line(invocation, "stats")
        invocation.log.say(f"{stats} shows it; without --until the images are fetched")


def _build(invocation: Invocation, run: Run) -> None:
    recipe = invocation.recipe
    reasons = invocation.options.get("retry")
    retry = RetryConfig(reasons=tuple(reasons.split(","))) if reasons else None
    require(invocation, "queries", "queries")
    if recipe.until == "shards" and not invocation.dry_run and not crawl_config(recipe).connect_to:
        recipe.crawl.require_contact()  # before hours of matching, not after them
    if recipe.embedded:
        built(invocation)
    matched = pipeline.match_candidates(run, recipe.sources, recipe.candidates)
    selected = pipeline.select_pairs(run, matched, recipe.shuffle, recipe.cap)
    if recipe.until == "shards":
        with _web(invocation, run, selected):
            if retry:
                pipeline.retry_images(run, selected, crawl_config(recipe), retry)
            else:
                pipeline.crawl_images(run, selected, crawl_config(recipe))


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
    rounds = pipeline.crawl_rounds(run, selected, crawl_config(recipe))
    plan = stage.plan(crawl.STAGE, rounds.config, rounds.sources(), run.folder("shards"))
    if not recipe.embedded or invocation.dry_run or not (plan.todo or invocation.options.get("retry")):
        yield
        return
    from pipelines.demo_web.server import running

    with running(web_folder(invocation), recipe.web.port):
        yield


def run_adopt(invocation: Invocation) -> None:
    """Writes shards/manifest.json and says what it holds."""
    from datagen.crawl.adopt import adopt

    with open_run(invocation, invocation.recipe.executor) as run:
        made = adopt(run)
    invocation.log.say(f"adopted: {made.rows:,} images in {len(made.parts):,} shards")


def run_remove(invocation: Invocation) -> None:
    """Rewrites the shards that hold what is named, and logs it in removed/."""
    request = requested(invocation)
    with open_run(invocation, invocation.recipe.executor) as run:
        removal = remove(run, request, invocation.options["why"])
        if not invocation.dry_run:
            invocation.log.say(f"remove: {removal}; {len(request):,} entries are left out from now on")


def requested(invocation: Invocation) -> Request:
    """What the command line names. Raises ConfigError where that is nothing, InputError where a file is no list."""
    lists = {kind: invocation.options[f"{kind}s"] for kind in ("uid", "url", "domain")}
    named = {kind: read_list(storage.absolute(file), kind) if file else frozenset() for kind, file in lists.items()}
    if invocation.options["exclusions"]:
        named["uid"] |= _excluded(invocation)
    elif not any(lists.values()):
        raise ConfigError(
            "remove: what? give --uids FILE, --urls FILE or --domains FILE, one entry a line; --exclusions"
        )
    return Request(named["uid"], named["url"], named["domain"])


def _excluded(invocation: Invocation) -> frozenset[str]:
    url = storage.join(invocation.work, "duplicates", "exclusions.parquet")
    if not storage.exists(url):
        raise InputError(f"{url}: no such file; run {command_line(invocation, 'dedup-check')} first")
    return read_list(url, "uid")


def run_stats(invocation: Invocation) -> None:
    """Prints a table (or JSON with --json) and writes report/index.html."""
    from datagen.statistics.collect import collect, to_json
    from datagen.statistics.page import write_page
    from datagen.statistics.terminal import statistics_text

    crawled = storage.exists(storage.join(invocation.work, "shards", MANIFEST))
    if not crawled:  # the cap is worth a look already
        require(invocation, "cap", "build-dataset")
    statistics = collect(invocation.work, attribution=_attribution(invocation))
    if invocation.as_json:
        sys.stdout.write(to_json(statistics) + "\n")
        return
    sys.stdout.write(statistics_text(statistics) + "\n\n")
    if not invocation.dry_run:
        page = storage.join(invocation.work, "report", "index.html")
        write_page(statistics, page)
        invocation.log.say(f"page: {page}")


def _attribution(invocation: Invocation) -> str:
    """Whose images the report shows."""
    marker = storage.join(invocation.work, "web", "web.json")
    if not invocation.recipe.embedded or not storage.exists(marker):
        return ""
    return str(storage.read_json(marker)["attribution"])
