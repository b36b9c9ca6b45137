"""Manifests: what a stage made, part by part, and from what. They join the stages, and data to training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from openwit import storage
from openwit.config import digest
from openwit.errors import InputError

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class PartFile:
    """One file of a partition; `name` is relative to the stage's folder."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """A finished partition: its files and its counts (`in`, `kept`, `dropped.<reason>`, and others)."""

    index: int
    key: str
    rows: int
    files: tuple[PartFile, ...]
    counts: dict[str, int]

    def file(self, suffix: str) -> PartFile:
        """The file whose name ends in `suffix`. Raises InputError where the partition has none."""
        for file in self.files:
            if file.name.endswith(suffix):
                return file
        raise InputError(f"partition {self.index:05d} has no {suffix} file, only {[f.name for f in self.files]}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All finished partitions of a stage, with the config that made them and the inputs that they came from."""

    stage: str
    version: int
    config: dict[str, object]
    inputs: dict[str, str]  # input name -> digest of the manifest or file it was
    parts: tuple[Part, ...]
    recipe: str = ""
    software: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """The counts of all partitions added up."""
        total: Counter[str] = Counter()
        for part in self.parts:
            total.update(part.counts)
        return total

    @property
    def rows(self) -> int:
        """The rows of all partitions added up."""
        return sum(part.rows for part in self.parts)

    @property
    def digest(self) -> str:
        """32 hex digits that differ where any file of the data set differs."""
        return digest([(part.index, [(f.name, f.sha256) for f in part.files]) for part in self.parts])


def read(folder: str) -> Manifest:
    """The manifest of a stage's folder. Raises InputError where it is missing or damaged."""
    url = storage.join(folder, MANIFEST)
    data = storage.read_bytes(url)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{url}: is no manifest of openwit ({error})") from None


def write(folder: str, manifest: Manifest) -> None:
    """Publishes `folder`/manifest.json; equal data sets give equal bytes (no times in it)."""
    storage.write_json(storage.join(folder, MANIFEST), msgspec.to_builtins(manifest))
