"""openwit dedup-check: the overlap of the shards with the recipe's evaluation sets, on Ray.

openwit dedup-within: copies inside the shards, of which one is kept with the captions of all.

openwit calibrate: the thresholds of dedup-check, from images of the user's own shards.
"""

from __future__ import annotations

from datagen.duplicates.overlap.check import check_overlap
from datagen.duplicates.within.find import find_within
from pipelines.commands.answers import write_answers
from pipelines.session import Invocation, open_run, require


def run_dedup_check(invocation: Invocation) -> None:
    """Writes duplicates/ (report, overlap a set, exclusions) and prints the share of each set."""
    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    if not invocation.dry_run:
        write_answers(invocation)
    with open_run(invocation, recipe.overlap_executor) as run:
        report = check_overlap(run, recipe.overlap)
        for line in report.lines():
            invocation.log.say(line)


def run_dedup_within(invocation: Invocation) -> None:
    """Writes duplicates/within/ and exclusions.parquet and merges captions; then the overlap is looked for again, as
    kept images have new pairs."""
    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    with open_run(invocation, recipe.overlap_executor) as run:
        found = find_within(run, recipe.within)
        invocation.log.say(f"within: {found}")
    if recipe.overlap.eval_sets:
        run_dedup_check(invocation)


def run_calibrate(invocation: Invocation) -> None:
    """Writes duplicates/calibration.json and prints each set's thresholds."""
    from datagen.duplicates.overlap.calibrate import calibrate

    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    with open_run(invocation, recipe.overlap_executor) as run:
        result = calibrate(run, recipe.overlap, recipe.calibrate)
        for line in result.lines():
            invocation.log.say(line)
