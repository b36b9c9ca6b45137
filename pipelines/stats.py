"""openwit stats: what was selected and crawled, as a table, JSON, or an HTML page."""

from __future__ import annotations

import sys

from openwit import storage
from openwit.manifest import MANIFEST
from pipelines.session import Invocation, require


def command(invocation: Invocation) -> None:
    """Prints a table (or JSON with --json) and writes report/index.html."""
    from datagen.statistics.collect import collect, to_json
    from datagen.statistics.page import write_page
    from datagen.statistics.terminal import print_table

    crawled = storage.exists(storage.join(invocation.work, "shards", MANIFEST))
    if not crawled:  # the cap is worth a look already
        require(invocation, "cap", "build-dataset")
    statistics = collect(invocation.work, attribution=_attribution(invocation))
    if invocation.as_json:
        sys.stdout.write(to_json(statistics) + "\n")
        return
    from rich.console import Console

    print_table(statistics, Console())
    if not invocation.dry_run:
        page = storage.join(invocation.work, "report", "index.html")
        write_page(statistics, page)
        invocation.log.say(f"page: {page}")


def _attribution(invocation: Invocation) -> str:
    """Whose pictures the report shows."""
    marker = storage.join(invocation.work, "web", "web.json")
    if not invocation.recipe.embedded or not storage.exists(marker):
        return ""
    return str(storage.read_json(marker)["attribution"])
