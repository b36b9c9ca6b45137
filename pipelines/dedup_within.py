"""openwit dedup-within: copies inside the shards, of which one is kept with the captions of all."""

from __future__ import annotations

from datagen.duplicates.within.find import find_within
from pipelines import dedup_check
from pipelines.session import Invocation, open_run, require


def command(invocation: Invocation) -> None:
    """Writes duplicates/within/ and exclusions.parquet and merges captions; then the overlap is looked for again, as
    kept pictures have new pairs."""
    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    with open_run(invocation, recipe.overlap_executor) as run:
        found = find_within(run, recipe.within)
        invocation.log.say(f"within: {found}")
    if recipe.overlap.eval_sets:
        dedup_check.command(invocation)
