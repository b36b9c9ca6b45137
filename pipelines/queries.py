"""openwit queries: the query list of a recipe."""

from __future__ import annotations

from pipelines.cli import Invocation
from pipelines.session import opened


def command(invocation: Invocation) -> None:
    """Builds queries/queries.parquet and prints what is in it."""
    from wit_queries.build import build_queries, summarize

    recipe = invocation.recipe
    with opened(invocation, recipe.executor) as run:
        if recipe.embedded:
            write_page_views(run)
        build_queries(run, recipe.queries)
        invocation.log.say(summarize(run.folder("queries")))
