"""openwit demo-web: the embedded web, built and served on loopback."""

from __future__ import annotations

from openwit import storage
from openwit.errors import ConfigError
from openwit.run import NotYet
from pipelines.session import Invocation


def built(invocation: Invocation) -> str:
    """The folder of the embedded web, built where it is not there yet."""
    from pipelines.demo_web.build import build_web

    if not storage.is_local(invocation.work):
        raise ConfigError(f"--work {invocation.work}: the embedded web needs a local folder")
    folder = web_folder(invocation)
    if not invocation.dry_run:
        counts = build_web(invocation.recipe.web, folder, invocation.recipe.executor.workers, invocation.log)
        invocation.log.say(f"demo web: {counts['images']:,} images on {counts['pages']} pages")
    elif not storage.exists(storage.join(folder, "web.json")):
        raise NotYet("the embedded web")
    return folder


def web_folder(invocation: Invocation) -> str:
    """Where the web of this work folder lies."""
    return storage.local_path(storage.join(invocation.work, "web"))


def run_demo_web(invocation: Invocation) -> None:
    """Builds, then serves until interrupted."""
    from pipelines.demo_web.server import serve

    folder, port = built(invocation), invocation.recipe.web.port
    if invocation.dry_run:
        invocation.log.say(f"demo web: is built; it would be served on port {port}")
        return
    invocation.log.say(f"serving all *.test hosts on 127.0.0.1:{port}; Ctrl-C ends it; to look at them:")
    invocation.log.say(f"  chromium --host-resolver-rules='MAP *.test 127.0.0.1:{port}' http://pictures.openmoji.test/")
    serve(folder, port)
