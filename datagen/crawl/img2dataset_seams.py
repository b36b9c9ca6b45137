"""Imports of two modules of a package without the rest of it.

`import img2dataset` loads its whole command with torch, ray and albumentations: 570 MB, 10 s in each worker. The crawl
needs its downloader and its writer: 20 MB, half a second.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def slim_import(package: str, *, without: str, forget: str) -> Iterator[None]:
    """Meanwhile the package's own `__init__` is skipped, and the library `without` counts as not installed.

    `forget` names the library that was thereby imported without it: later imports get it whole. What is loaded
    already stays as it is.
    """
    made: list[str] = []
    if package not in sys.modules and (spec := importlib.util.find_spec(package)):
        sys.modules[package] = importlib.util.module_from_spec(spec)  # made, but not executed
    if without not in sys.modules:
        sys.modules[without] = None  # type: ignore[assignment]  # the import system's sign for "not there"
        made = [] if forget in sys.modules else [forget]
    try:
        yield
    finally:
        if sys.modules.get(without, types) is None:
            del sys.modules[without]
        for name in [name for name in sys.modules if any(name == m or name.startswith(f"{m}.") for m in made)]:
            del sys.modules[name]
