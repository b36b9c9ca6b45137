"""openwit demo-web: the embedded web, built and served on loopback."""

from __future__ import annotations

from openwit import storage
from openwit.errors import ConfigError
from pipelines.cli import Invocation


def built(invocation: Invocation) -> dict[str, int]:
    """Builds the web in the work folder's web/ where it is not there yet; returns its counts."""
    from pipelines.demo_web.build import build_web

    recipe = invocation.recipe
    if not storage.is_local(invocation.work):
        raise ConfigError(f"--work {invocation.work}: the embedded web needs a local folder")
    return build_web(recipe.web, web_folder(invocation), recipe.executor.workers, invocation.log)


def web_folder(invocation: Invocation) -> str:
    """Where the web of this work folder lies."""
    return storage.local_path(storage.join(invocation.work, "web"))


def command(invocation: Invocation) -> None:
    """Builds, then serves until interrupted."""
    from pipelines.demo_web.command import build_and_serve

    if invocation.dry_run:
        invocation.log.say(
            f"demo-web: would build {web_folder(invocation)} and serve port {invocation.recipe.web.port}"
        )
        return
    recipe = invocation.recipe
    build_and_serve(recipe.web, web_folder(invocation), recipe.executor.workers, invocation.log)
