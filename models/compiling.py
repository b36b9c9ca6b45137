"""Functions by torch.compile, made when they are first wanted: importing a network must not import a compiler.

State dicts keep their names, since no module is wrapped, and a network can be copied and pickled.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from typing import TypeVar, cast

from openwit.errors import ConfigError

F = TypeVar("F", bound=Callable[..., object])
COMPILERS = ("g++", "c++", "clang++")
# Variants of one function that are kept: a ResNet-50's blocks are of eight kinds, each with and without gradients, and
# with or without counting what passes. Beyond its limit torch goes on without compiling, in silence.
MAX_VARIANTS = 64


def compiled(function: F, dynamic: bool) -> F:
    """The function by torch.compile, whole or not at all; with `dynamic`, for rows of any number without compiling
    again, else once for each shape. Modules among its parameters share what is compiled for one of them."""
    return cast(F, _compiled(function, dynamic))


@functools.cache
def _compiled(function: Callable[..., object], dynamic: bool) -> Callable[..., object]:
    import torch._dynamo  # seconds

    torch._dynamo.config.recompile_limit = MAX_VARIANTS
    return torch.compile(function, dynamic=dynamic, fullgraph=True)


def require_compiler() -> None:
    """Raises ConfigError where torch.compile has no C++ compiler; on GPUs it needs one too."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS) if name):
        raise ConfigError("compile=true: needs a C++ compiler, and there is none here; install g++, or write false")
