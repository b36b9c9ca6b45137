"""What `openwit demo-web` does: builds the embedded web where it is missing, and serves it until Ctrl-C."""

from __future__ import annotations

from openwit.log import Log
from pipelines.demo_web.config import DemoWebConfig


def build_and_serve(config: DemoWebConfig, folder: str, workers: int, log: Log) -> None:
    """Serves in the foreground; `log` says what the user reads. Raises what build_web and serve raise."""
    from pipelines.demo_web.build import build_web
    from pipelines.demo_web.server import serve

    counts = build_web(config, folder, workers, log)
    log.say(f"{counts['pictures']} pictures on {counts['pages']} pages in {folder}")
    log.say(f"serving on http://127.0.0.1:{config.port}/ (by Host header, e.g. pictures.openmoji.test); Ctrl-C ends it")
    serve(folder, config.port)
