"""openwit queries: the query list of a recipe."""

from __future__ import annotations

import time

from openwit import storage
from openwit.log.events import duration
from openwit.run import NotYet, Run
from pipelines.session import Invocation, open_run

INVENTED_HOURS = 6


def run_queries(invocation: Invocation) -> None:
    """Builds queries/queries.parquet and prints what is in it."""
    from wit_queries.build import build_queries, summarize

    started = time.monotonic()
    recipe = invocation.recipe
    with open_run(invocation, recipe.executor) as run:
        if recipe.embedded:
            _invent_page_views(run)
        build_queries(run, recipe.queries)
        invocation.log.say(summarize(run.folder("queries")))
        invocation.log.say(f"  {duration(time.monotonic() - started)} now; list: {run.folder('queries')}")


def _invent_page_views(run: Run) -> None:
    """The excerpt of Wikipedia has no page views of its own: a day of them, in the documented format."""
    from pipelines.demo_web.pageviews import write_pageviews
    from wit_queries.wikipedia import inputs
    from wit_queries.wikipedia.dump import read_titles

    folder = run.folder("pageviews")
    if len(storage.list_sizes(folder)) == INVENTED_HOURS:
        return
    if run.dry_run:
        raise NotYet("the invented page views")
    (url,) = inputs.dump_urls(("gensim",))
    write_pageviews(read_titles(url), folder, seed=0, num_hours=INVENTED_HOURS)
