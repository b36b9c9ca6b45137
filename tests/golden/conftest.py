"""Golden values: answers that must not move when the sources do. They lie in tests/golden/values, a JSON file each.

Where a change is meant to move them:  OPENWIT_RECORD_GOLDENS=1 pytest tests/golden
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

VALUES = Path(__file__).parent / "values"


@pytest.fixture
def golden() -> Callable[[str, object], None]:
    """Compares a value with the recorded one of that name."""

    def compare(name: str, value: object) -> None:
        path = VALUES / f"{name}.json"
        if os.environ.get("OPENWIT_RECORD_GOLDENS") == "1":
            path.write_text(as_text(value), encoding="utf-8")
        assert path.exists(), f"{path} is not recorded: OPENWIT_RECORD_GOLDENS=1 pytest tests/golden"
        assert json.loads(as_text(value)) == json.loads(path.read_text(encoding="utf-8"))

    return compare


def as_text(value: object) -> str:
    """The value as JSON, an entry of its outermost list or mapping a line."""
    if isinstance(value, dict):
        return "{\n" + ",\n".join(f"{compact(str(name))}: {compact(entry)}" for name, entry in value.items()) + "\n}\n"
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(compact, value)) + "\n]\n"
    return compact(value) + "\n"


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
