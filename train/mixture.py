"""The data sets of a mixture as recipes name them: FOLDER, or FOLDER=PASSES an epoch; light to import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from openwit import storage
from openwit.errors import ConfigError

MAX_PASSES = 100  # more is rather a folder whose own name ends in a number: year=2024
ENTRY = re.compile(r"(?P<folder>.*)=(?P<passes>[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan)", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A folder of shards; each of its samples is used `passes` times an epoch, on average over epochs."""

    folder: str
    passes: float = 1.0

    def __str__(self) -> str:
        """As a recipe names it; read again, it is the same."""
        if self.passes == 1 and not ENTRY.fullmatch(self.folder):
            return self.folder
        return f"{self.folder}={self.passes!r}".removesuffix(".0")

    @property
    def on_this_machine(self) -> Entry:
        """The entry with a relative local path made absolute."""
        return Entry(storage.absolute(self.folder), self.passes)


def parse_entry(text: str) -> Entry:
    """The entry. Raises ConfigError where its folder is missing or its number is none of passes."""
    match = ENTRY.fullmatch(text)
    folder, passes = (match["folder"], float(match["passes"])) if match else (text, 1.0)
    if not folder:
        raise ConfigError(f"data={text}: the folder is missing; write FOLDER or FOLDER=PASSES, e.g. shards=2")
    if not 0 < passes <= MAX_PASSES:
        raise ConfigError(
            f"data={text}: PASSES must be more than 0 and at most {MAX_PASSES}, e.g. {folder}=0.5; "
            f"where the folder's own name ends so, write {text}/"
        )
    return Entry(folder, passes)


def parse_entries(texts: Sequence[str]) -> tuple[Entry, ...]:
    """The entries. Raises ConfigError as `parse_entry`, and where a folder is named twice."""
    entries = tuple(parse_entry(text) for text in texts)
    passes: dict[str, float] = {}
    for entry in entries:
        folder = entry.folder.rstrip("/")
        if folder in passes:
            total = Entry(entry.folder, passes[folder] + entry.passes)
            raise ConfigError(f"data={','.join(texts)}: {entry.folder} is named twice; write {total} once")
        passes[folder] = entry.passes
    return entries
