"""The training that others are compared with."""

from __future__ import annotations

import pytest

from helpers import undisturbed as training
from helpers.undisturbed import Undisturbed


@pytest.fixture(scope="session")
def the_undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return training.undisturbed(tmp_path_factory)


@pytest.fixture
def undisturbed(the_undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> Undisturbed:
    """Trainings of this test get one thread a rank as well: another number rounds differently."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return the_undisturbed
