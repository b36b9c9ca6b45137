"""When two images of the data set are one, and how copies are looked for."""

from __future__ import annotations

from dataclasses import dataclass, fields

from openwit.config import Free
from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GroupsConfig:
    """What groups and captions depend on beside the pairs and fingerprints: nothing."""


@dataclass(frozen=True, kw_only=True)
class PrintsConfig:
    """What the fingerprints of a shard depend on, and how they are dealt: a new threshold leaves them as they are."""

    near: bool = True  # near copies too; else only those of the same bytes or pixels
    pixels: bool = True  # whether pixels are compared beside bytes, which means to decode every image whole
    min_contrast: float = 4.0  # standard deviation in levels of 255; hashes do not compare images below
    detector: str = ""  # path on all workers: a descriptor that decides on pairs of a band; empty: the hash does
    device: Free[str] = "auto"  # where the detector runs: auto (a GPU if there is one), cpu, cuda
    num_bands: int = 16  # of the hash's lower half; two images are compared where one band is equal
    band_bits: int = 24  # of a band: more mean fewer pairs to compare, and more missed
    num_partitions: int = 16  # to which the bands are dealt; what one holds, a worker holds in memory

    def __post_init__(self) -> None:
        for name in ("num_bands", "num_partitions"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.num_bands > 200:
            raise ConfigError(f"num_bands={self.num_bands}: must be at most 200; 16 is the default")
        if not 8 <= self.band_bits <= 48:
            raise ConfigError(f"band_bits={self.band_bits}: must lie between 8 and 48; 24 is the default")
        if self.min_contrast < 0:
            raise ConfigError(f"min_contrast={self.min_contrast}: must not be negative")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device={self.device}: expected auto, cpu or cuda")


@dataclass(frozen=True, kw_only=True)
class WithinConfig(PrintsConfig):
    """Copies inside the data set: exact ones, and near ones by bands of their hash.

    The defaults come from an experiment: 1,500 photographs beside copies at 0.4 to 0.9 of the size, JPEG quality 30 to
    90, half of them darker or lighter. 99% of the copies were nearer than 0.05, and 98.9% shared one of 16 bands of 24
    bits with their original. Of copies that lost 2% at two sides, half were nearer than 0.06, and 79% shared a band.
    """

    max_distance256: float = 0.10  # of the 256-bit hash, as a share of its reliable bits, by either image's mask
    max_color_distance: float = 15.0  # mean difference in Cr and Cb, in levels of 255
    min_score: float = 0.9  # of the detector, a cosine
    max_bucket: int = 200  # images of an equal band with which each is compared, of more the nearest in order
    merge_captions: Free[bool] = True  # whether an image that is kept gets the captions of its copies

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_bucket < 1:
            raise ConfigError(f"max_bucket={self.max_bucket}: must be at least 1")
        if not 0 <= self.max_distance256 < 0.5:
            raise ConfigError(
                f"max_distance256={self.max_distance256}: must be at least 0 and below 0.5, where images that have"
                " nothing in common lie"
            )
        if not 0 < self.min_score <= 1:
            raise ConfigError(f"min_score={self.min_score}: must be above 0 and at most 1, the score of one image")
        if self.max_color_distance < 0:
            raise ConfigError(f"max_color_distance={self.max_color_distance}: must not be negative")

    @property
    def prints(self) -> PrintsConfig:
        """What of it the fingerprints depend on."""
        return PrintsConfig(**{field.name: getattr(self, field.name) for field in fields(PrintsConfig)})
