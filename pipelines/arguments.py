"""The command line of a command that takes paths instead of a recipe."""

from __future__ import annotations

import argparse
from typing import NoReturn

from openwit.errors import ConfigError


class Arguments(argparse.ArgumentParser):
    """A parser whose complaints are errors of one line, as those of all commands."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            f"openwit {command}", description=description, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.format_usage()}")
