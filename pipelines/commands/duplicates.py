"""openwit dedup-check: the overlap of the shards with the recipe's evaluation sets, on Ray."""

from __future__ import annotations

from datagen.duplicates.check import check_overlap
from pipelines.answers import write_answers
from pipelines.session import Invocation, open_run, require


def command(invocation: Invocation) -> None:
    """Writes duplicates/ (report, overlap a set, exclusions) and prints the share of each set."""
    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    if not invocation.dry_run:
        write_answers(invocation)
    with open_run(invocation, recipe.overlap_executor) as run:
        report = check_overlap(run, recipe.overlap)
        for line in report.lines():
            invocation.log.say(line)
