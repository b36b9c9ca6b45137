"""Makes tests/helpers importable as `helpers`; the option --all for the large matrices; limits that wait for a busy
machine; hypothesis without time limits and with the same examples each time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_timeout
from hypothesis import settings as hypothesis_settings

sys.path.insert(0, str(Path(__file__).parent))

from helpers.patience import patience
from helpers.places import ROOT
from helpers.processes import descendants, gone, wait_until
from openwit.executors.executor import Executor, ExecutorConfig, open_executor

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several test processes share the cores; threads that wait would spin
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # img2dataset's augmentation library would ask the internet
if not Path("/dev/nvidiactl").exists():  # no GPU: Triton looks for this when it is first imported, by whomever
    os.environ["TRITON_INTERPRET"] = "1"
hypothesis_settings.register_profile("openwit", deadline=None, derandomize=True)
hypothesis_settings.load_profile("openwit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """--all, in the environment too: for constants of modules, and for xdist's processes."""
    parser.addoption("--all", action="store_true", help="each matrix whole: every kill, the longest trainings")


def pytest_configure(config: pytest.Config) -> None:
    """See helpers.matrices."""
    if config.getoption("--all"):
        os.environ["OPENWIT_ALL"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process is left with one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool | None:
    """A test's limit, which is there for what hangs, is that of a quiet machine."""
    patient = settings._replace(timeout=patience(settings.timeout))
    return bool(pytest_timeout.pytest_timeout_set_timer(item, patient))


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Executor]:
    """Ray on this machine, in which all tests of a file that ask for it have their workers; an executor of two of them.
    It leaves no process behind."""
    before = descendants(os.getpid())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
        with open_executor(ExecutorConfig(kind="ray", workers=2)) as executor:
            started = [process for process in descendants(os.getpid()) if process not in before]
            yield executor
    wait_until(lambda: gone(started))
