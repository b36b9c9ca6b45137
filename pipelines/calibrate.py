"""openwit calibrate: the thresholds of dedup-check, from pictures of the user's own shards."""

from __future__ import annotations

from pipelines.session import Invocation, open_run, require


def command(invocation: Invocation) -> None:
    """Writes duplicates/calibration.json and prints each set's thresholds."""
    from datagen.duplicates.calibrate import calibrate

    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    with open_run(invocation, recipe.overlap_executor) as run:
        result = calibrate(run, recipe.overlap, recipe.calibrate)
        for line in result.lines():
            invocation.log.say(line)
