"""What the overlap check looks for, and how alike two pictures must be."""

from __future__ import annotations

import re
from dataclasses import dataclass

from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """What decides the index of the evaluation pictures, apart from the thresholds."""

    names: tuple[str, ...]  # of the evaluation sets, in their order
    crop: float  # share cut off a side in the views


@dataclass(frozen=True, kw_only=True)
class OverlapConfig:
    """Which evaluation sets are looked for in the shards.

    The defaults come from an experiment: 600 photographs and 600 drawings, each with a copy that was resized,
    compressed to JPEG quality 40 to 80 and cropped by up to 4% a side, the drawings also on another light ground. By
    the 256-bit hash all copies were nearer than 0.12 (95% nearer than 0.05), by the 64-bit hash nearer than 0.11, in
    colour nearer than 14 (photographs: 2). Of photographs, 93% had no other of 2,607 nearer than 0.28; the rest did
    show the same. Drawings of one shape that differ in a detail, like flags or gestures, are not told apart.
    """

    eval_sets: tuple[str, ...] = ()  # evaluation sets as name=url of a parquet file with key, image (encoded), label
    crop: float = 0.03  # evaluation pictures are also indexed with this share cut off any of their sides; 0: not
    max_distance64: float = 0.20  # of the 64-bit hash, as a share of its firm bits; a first look, so lenient
    max_distance256: float = 0.12  # of the 256-bit hash, as a share of its firm bits; this one decides
    max_color_distance: float = 15.0  # mean difference in Cr and Cb, in levels of 255; hashes see no colour
    min_contrast: float = 4.0  # standard deviation in levels of 255; pictures below are compared by sha256 alone
    gallery_pairs: int = 60  # matched pairs a set shown in report.html, the least certain first

    def __post_init__(self) -> None:
        names = [split_eval_set(entry)[0] for entry in self.eval_sets]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"eval_sets: the name {name} occurs {names.count(name)} times; names must differ")
        if not 0 <= self.crop < 0.25:
            raise ConfigError(f"crop={self.crop}: must be at least 0 and below 0.25; 0.03 is the default")
        for field in ("max_distance64", "max_distance256"):
            if not 0 <= getattr(self, field) < 0.5:
                raise ConfigError(
                    f"{field}={getattr(self, field)}: must be at least 0 and below 0.5, where pictures that have"
                    " nothing in common lie"
                )
        for field in ("max_color_distance", "min_contrast", "gallery_pairs"):
            if getattr(self, field) < 0:
                raise ConfigError(f"{field}={getattr(self, field)}: must not be negative")

    @property
    def index(self) -> IndexConfig:
        """The part that the index depends on."""
        return IndexConfig(names=tuple(split_eval_set(entry)[0] for entry in self.eval_sets), crop=self.crop)


def split_eval_set(entry: str) -> tuple[str, str]:
    """(name, url) of "name=url". Raises ConfigError for another form."""
    name, sign, url = entry.partition("=")
    if not sign or not url or not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise ConfigError(
            f"eval_sets={entry}: expected name=url, the name of letters, digits, '_', '-' and '.';"
            " write e.g. things=things.parquet"
        )
    return name, url
