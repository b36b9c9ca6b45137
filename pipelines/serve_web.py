"""openwit demo-web: the embedded web, built and served on loopback."""

from __future__ import annotations

from pipelines.cli import Invocation


def built(invocation: Invocation) -> dict[str, int]:
    """Builds the web in the work folder's web/ where it is not there yet; returns its counts."""
    from openwit import storage
    from pipelines.demo_web.build import build_web

    if invocation.dry_run:
        return {}
    folder = storage.join(invocation.work, "web")
    if not storage.exists(storage.join(folder, "web.json")):
        invocation.log.say("demo-web: rendering the pictures and writing the pages")
    return build_web(invocation.recipe.web, storage.local_path(folder))


def command(invocation: Invocation) -> None:
    """Serves until interrupted."""
    from openwit import storage
    from pipelines.demo_web.server import serve

    counts = built(invocation)
    if invocation.dry_run:
        return
    port = invocation.recipe.web.port
    described = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    invocation.log.say(f"demo-web: {described}")
    invocation.log.say(f"serving on http://127.0.0.1:{port}/ until interrupted (Ctrl-C)")
    serve(storage.local_path(storage.join(invocation.work, "web")), port)
