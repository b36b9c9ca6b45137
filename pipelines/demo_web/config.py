"""What the embedded web holds: its size, its faults, and where it is served."""

from __future__ import annotations

from dataclasses import dataclass, fields

from openwit.errors import ConfigError

NUM_TONES = 5
HOST_SUFFIX = ".test"  # reserved by RFC 6761: such a name is never anybody's


@dataclass(frozen=True, kw_only=True)
class FaultConfig:
    """How many addresses of each faulty kind the pages point to, besides the good ones."""

    missing: int = 25  # images that do not exist: 404
    error: int = 6  # images answered with 500
    slow: int = 6  # images that dribble for slow_s
    truncated: int = 8  # JPEG files that end in the middle
    cut: int = 4  # connections closed before Content-Length bytes came
    html: int = 8  # HTML pages posing as image/jpeg
    noai: int = 12  # images with the header X-Robots-Tag: noai
    mirrored: int = 40  # second addresses of the same image, byte for byte

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ConfigError(f"{field.name}={getattr(self, field.name)}: must not be negative; 0 leaves it out")


@dataclass(frozen=True, kw_only=True)
class DemoWebConfig:
    """The embedded web: OpenMoji drawings on gallery pages of several hosts, served on loopback."""

    port: int = 8737  # of 127.0.0.1, where the web is served
    seed: int = 0  # of everything that is drawn: held-out sets, pages, wordings, shades
    image_px: int = 144  # side of the square images
    images_per_page: int = 20  # on a gallery page
    max_images: int = 0  # named images to use; 0: all (about 3,950)
    num_heldout: int = 400  # skin-tone compositions held out as the zero-shot set
    num_things: int = 50  # images of things held out as the set of the overlap check
    num_planted: int = 25  # of the things: planted in the pages as altered copies
    num_wat_files: int = 4  # WAT files that list the pages
    slow_s: float = 20.0  # how long a slow answer dribbles
    faults: FaultConfig = FaultConfig()

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ConfigError(f"port={self.port}: must be from 1 to 65535; 8737 is the default")
        for name in ("image_px", "images_per_page", "num_wat_files"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("max_images", "num_heldout", "num_things", "num_planted"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must not be negative")
        if self.num_planted > self.num_things:
            raise ConfigError(
                f"num_planted={self.num_planted}: only held-out things can be planted; write at most"
                f" {self.num_things} (num_things)"
            )
        if not self.slow_s > 0:
            raise ConfigError(f"slow_s={self.slow_s}: must be positive")
