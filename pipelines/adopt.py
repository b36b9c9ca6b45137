"""openwit adopt: a data set of the shards that img2dataset wrote into the work folder's shards/."""

from __future__ import annotations

from pipelines.session import Invocation, open_run


def command(invocation: Invocation) -> None:
    """Writes shards/manifest.json and says what it holds."""
    from datagen.crawl.adopt import adopt

    with open_run(invocation, invocation.recipe.executor) as run:
        made = adopt(run)
    invocation.log.say(f"adopted: {made.rows:,} pictures in {len(made.parts):,} shards")
