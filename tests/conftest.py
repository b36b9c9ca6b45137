"""Makes tests/helpers importable as `helpers`; hypothesis without time limits, as machines are noisy, and in CI with
the same examples each time; which tests may run beside which."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # img2dataset's augmentation library would ask the internet
if not Path("/dev/nvidiactl").exists():  # no GPU: Triton looks for this when it is first imported, by whomever
    os.environ["TRITON_INTERPRET"] = "1"
settings.register_profile("openwit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("openwit")

BESIDE_OTHERS = ("models", "train", "wit_queries")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In two processes (make test): one has all that starts Ray, of which there is one on a machine, and the line
    around it; the other has whole files of the rest."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        item.add_marker(pytest.mark.xdist_group(str(item.path) if folder in BESIDE_OTHERS else "line"))
