"""torch.compile as far as our own code decides what it does: to the graphs of forward and backward passes, which torch
then runs operation by operation. What inductor makes of them takes a C++ compiler minutes; one test of each kind does
that, and with --all every one."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from helpers.matrices import ALL
from models import compiling


@contextmanager
def graphs_alone() -> Iterator[None]:
    """Networks are compiled so inside the block."""
    backend = "inductor" if ALL else "aot_eager"
    compiling._compiled.cache_clear()
    try:
        with mock.patch.object(torch, "compile", functools.partial(torch.compile, backend=backend)):
            yield
    finally:
        compiling._compiled.cache_clear()
