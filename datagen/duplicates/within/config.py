"""When two images of the data set are one, and how copies are looked for."""

from __future__ import annotations

from dataclasses import dataclass

from openwit.errors import ConfigError

# What the stages do not depend on, though it is in their config: a new threshold leaves the fingerprints as they are.
FREE_OF_PAIRS = frozenset({"device", "merge_captions"})
FREE_OF_PRINTS = FREE_OF_PAIRS | {"max_distance256", "max_color_distance", "min_score", "max_bucket"}


@dataclass(frozen=True, kw_only=True)
class WithinConfig:
    """Copies inside the data set: exact ones, and near ones by bands of their hash.

    The defaults come from an experiment: 1,500 photographs beside copies at 0.4 to 0.9 of the size, JPEG quality 30 to
    90, half of them darker or lighter. 99% of the copies were nearer than 0.05, and 98.9% shared one of 16 bands of 24
    bits with their original. Of copies that lost 2% at two sides, half were nearer than 0.06, and 79% shared a band.
    """

    near: bool = True  # near copies too; else only those of the same bytes or pixels
    pixels: bool = True  # whether pixels are compared beside bytes, which means to decode every image whole
    max_distance256: float = 0.10  # of the 256-bit hash, as a share of its firm bits, by either image's mask
    max_color_distance: float = 15.0  # mean difference in Cr and Cb, in levels of 255
    min_contrast: float = 4.0  # standard deviation in levels of 255; hashes do not compare images below
    detector: str = ""  # path on all workers: a descriptor that decides on pairs of a band; empty: the hash does
    min_score: float = 0.9  # of the detector, a cosine
    device: str = "auto"  # where the detector runs: auto (a GPU if there is one), cpu, cuda
    num_bands: int = 16  # of the hash's lower half; two images are compared where one band is equal
    band_bits: int = 24  # of a band: more mean fewer pairs to compare, and more missed
    num_partitions: int = 16  # to which the bands are dealt; what one holds, a worker holds in memory
    max_bucket: int = 200  # images of an equal band with which each is compared, of more the nearest in order
    merge_captions: bool = True  # whether an image that is kept gets the captions of its copies

    def __post_init__(self) -> None:
        for name in ("num_bands", "num_partitions", "max_bucket"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.num_bands > 200:
            raise ConfigError(f"num_bands={self.num_bands}: must be at most 200; 16 is the default")
        if not 8 <= self.band_bits <= 48:
            raise ConfigError(f"band_bits={self.band_bits}: must lie between 8 and 48; 24 is the default")
        if not 0 <= self.max_distance256 < 0.5:
            raise ConfigError(
                f"max_distance256={self.max_distance256}: must be at least 0 and below 0.5, where images that have"
                " nothing in common lie"
            )
        if not 0 < self.min_score <= 1:
            raise ConfigError(f"min_score={self.min_score}: must be above 0 and at most 1, the score of one image")
        for name in ("max_color_distance", "min_contrast"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must not be negative")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device={self.device}: expected auto, cpu or cuda")


FREE_OF_GROUPS = frozenset(WithinConfig.__dataclass_fields__)  # all is decided by their inputs
