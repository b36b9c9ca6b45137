"""What the overlap check looks for, and how alike two images must be."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from openwit.config import Free
from openwit.errors import ConfigError

REASONS = ("sha256", "pixels", "phash", "detector")  # the cascade's stages, the surest first


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """What decides the index of one set's images, apart from the thresholds."""

    name: str  # of the evaluation set
    crop: float  # share cut off a side in the views


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How images become vectors."""

    name: str  # of the evaluation set
    device: Free[str] = "auto"  # where the detector runs: auto (a GPU if there is one), cpu, cuda


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """How the sets' indexes become one."""

    exact_vectors: int  # up to so many vectors are compared one by one
    least_score: float  # the lowest of a detector's thresholds, down to which neighbours must be found


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What still counts as the same image in one evaluation set; see OverlapConfig."""

    name: str  # of the evaluation set
    max_distance64: float  # of the 64-bit hash
    max_distance256: float  # of the 256-bit hash
    max_color_distance: float  # in levels of 255
    min_contrast: float  # in levels of 255
    min_score: float  # of the detector


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """What the check of a shard depends on beside its inputs."""

    limits: tuple[Limits, ...]  # one a set
    near_pairs: int  # pairs a set that just missed a threshold
    device: Free[str] = "auto"  # where the detector runs


@dataclass(frozen=True, kw_only=True)
class OverlapConfig:
    """Which evaluation sets are looked for in the shards.

    The defaults come from an experiment: 600 photographs and 600 drawings, each with a copy that was resized,
    compressed to JPEG quality 40 to 80 and cropped by up to 4% a side, the drawings also on another light ground. By
    the 256-bit hash all copies were nearer than 0.12 (95% nearer than 0.05), by the 64-bit hash nearer than 0.11, in
    colour nearer than 14 (photographs: 2). Of photographs, 93% had no other of 2,607 nearer than 0.28; the rest did
    show the same. Drawings of one shape that differ in a detail, like flags or gestures, are not told apart.
    """

    eval_sets: tuple[str, ...] = ()  # as name=url of a parquet file, image folder, tars, or torchvision:CLASS?root=DIR
    crop: float = 0.03  # evaluation images are also indexed with this share cut off any of their sides; 0: not
    max_distance64: float = 0.20  # of the 64-bit hash, as a share of its reliable bits; a first look, so lenient
    max_distance256: float = 0.12  # of the 256-bit hash, as a share of its reliable bits; this one decides
    max_color_distance: float = 15.0  # mean difference in Cr and Cb, in levels of 255; hashes see no colour
    min_contrast: float = 4.0  # standard deviation in levels of 255; hashes do not compare images below
    detector: str = ""  # path on all workers: train-detector's detector/model, another descriptor; empty: only hashes
    min_score: float = 0.9  # of the detector, a cosine, where no calibration and no threshold says another
    thresholds: tuple[str, ...] = ()  # of single sets, e.g. things:detector=0.8 or things:phash=0.1
    calibrated: bool = True  # what `openwit calibrate` found comes before the thresholds above, after `thresholds`
    device: str = "auto"  # where the detector runs: auto (a GPU if there is one), cpu, cuda
    exact_vectors: int = 100_000  # detector's vectors that are compared one by one; more go into an inverted file
    near_pairs: int = 20  # pairs a set and shard that just missed a threshold, kept for a person to judge
    gallery_pairs: int = 60  # matched pairs a set shown in report.html, the least certain first

    def __post_init__(self) -> None:
        names = [split_eval_set(entry)[0] for entry in self.eval_sets]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"eval_sets: the name {name} occurs {names.count(name)} times; names must differ")
        if not 0 <= self.crop < 0.25:
            raise ConfigError(f"crop={self.crop}: must be at least 0 and below 0.25; 0.03 is the default")
        for field in ("max_distance64", "max_distance256"):
            _check_distance(field, getattr(self, field))
        _check_score("min_score", self.min_score)
        for field in ("max_color_distance", "min_contrast", "near_pairs", "gallery_pairs"):
            if getattr(self, field) < 0:
                raise ConfigError(f"{field}={getattr(self, field)}: must not be negative")
        if self.exact_vectors < 1:
            raise ConfigError(f"exact_vectors={self.exact_vectors}: must be at least 1")
        check_device(self.device)
        for entry in self.thresholds:
            split_threshold(entry, names)

    @property
    def names(self) -> list[str]:
        """Of the evaluation sets, in their order."""
        return [split_eval_set(entry)[0] for entry in self.eval_sets]

    def limits(self, calibrated: dict[str, dict[str, float]]) -> tuple[Limits, ...]:
        """The thresholds of each set: of `thresholds`, else calibrated (set -> stage -> threshold), else the general
        ones."""
        general = Limits(
            name="",
            max_distance64=self.max_distance64,
            max_distance256=self.max_distance256,
            max_color_distance=self.max_color_distance,
            min_contrast=self.min_contrast,
            min_score=self.min_score,
        )
        given: dict[str, dict[str, float]] = {name: dict(calibrated.get(name, {})) for name in self.names}
        for name, stage, value in (split_threshold(entry, self.names) for entry in self.thresholds):
            given[name][stage] = value
        return tuple(_with(general, name, given[name]) for name in self.names)


@dataclass(frozen=True, kw_only=True)
class CopiesConfig:
    """How scores of made copies are sampled from a set's partition."""

    crop: float  # of the views in the index
    images: int  # of a partition that are copied
    seed: int  # of the draws
    device: Free[str] = "auto"  # where the detector runs


@dataclass(frozen=True, kw_only=True)
class OthersConfig:
    """How scores of images that are no copies are sampled from a shard."""

    limits: tuple[Limits, ...]  # one a set
    share: float  # of the shard's images
    seed: int  # of the draws
    device: Free[str] = "auto"  # where the detector runs


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """How `openwit calibrate` chooses thresholds from images of the user's own shards."""

    images: int = 20_000  # of the shards, drawn at random: those that are no copies make the false alarms
    copies: int = 500  # of images of each set, made by the detector's augmentations
    precision: float = 0.99  # share of true copies among the matched images, at the chosen threshold
    prevalence: float = 0.01  # assumed share of copies of a set among the shards' images
    seed: int = 0  # of the draws

    def __post_init__(self) -> None:
        for field in ("images", "copies"):
            if getattr(self, field) < 10:
                raise ConfigError(f"{field}={getattr(self, field)}: must be at least 10")
        for field in ("precision", "prevalence"):
            if not 0 < getattr(self, field) < 1:
                raise ConfigError(f"{field}={getattr(self, field)}: must lie between 0 and 1")


def split_eval_set(entry: str) -> tuple[str, str]:
    """(name, url) of "name=url". Raises ConfigError for another form."""
    name, sign, url = entry.partition("=")
    if not sign or not url or not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise ConfigError(
            f"eval_sets={entry}: expected name=url, the name of letters, digits, '_', '-' and '.';"
            " write e.g. things=things.parquet"
        )
    return name, url


def split_threshold(entry: str, names: list[str]) -> tuple[str, Literal["phash", "detector"], float]:
    """(set, stage, value) of "set:stage=value". Raises ConfigError for another form, or a set that is not named."""
    match = re.fullmatch(r"([\w.-]+):(phash|detector)=(-?\d*\.?\d+(?:e-?\d+)?)", entry)
    if match is None:
        raise ConfigError(f"thresholds={entry}: expected set:stage=value; write e.g. things:detector=0.8")
    name, stage = match[1], match[2]
    if name not in names:
        raise ConfigError(f"thresholds={entry}: no evaluation set is called {name}; there are {', '.join(names)}")
    value = float(match[3])
    if stage == "phash":
        _check_distance(f"thresholds={name}:phash", value)
        return name, "phash", value
    _check_score(f"thresholds={name}:detector", value)
    return name, "detector", value


def check_device(device: str) -> None:
    """Raises ConfigError where it is none of those that images can be embedded on."""
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device={device}: expected auto, cpu or cuda")


def _with(general: Limits, name: str, values: dict[str, float]) -> Limits:
    distance = values.get("phash", general.max_distance256)
    return replace(general, name=name, max_distance256=distance, min_score=values.get("detector", general.min_score))


def _check_distance(field: str, value: float) -> None:
    if not 0 <= value < 0.5:
        raise ConfigError(
            f"{field}={value}: must be at least 0 and below 0.5, where images that have nothing in common lie"
        )


def _check_score(field: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ConfigError(f"{field}={value}: must be above 0 and at most 1, the score of the same image")
