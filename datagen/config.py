"""Settings of the data line: candidates and matching, the cap, the crawl. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SourcesConfig:
    """Where (image URL, caption) pairs come from."""

    wat_paths: str = ""  # list of WAT files as a crawl publishes it: wat.paths or wat.paths.gz, local or URL
    wat_prefix: str = "https://data.commoncrawl.org/"  # what stands before each path of that list
    max_files: int | None = None  # read only the first files of the list


@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """Which pairs are worth matching, and how many partitions they fall into."""

    min_caption_words: int = 1  # shorter captions are dropped
    max_caption_chars: int = 1000  # longer captions are dropped
    drop_boilerplate: bool = True  # drop captions that are a file name or say only "image", "logo", …
    num_partitions: int = 4  # partitions after matching, by hash of the image URL: as many shards as are written

    def __post_init__(self) -> None:
        if self.num_partitions < 1:
            raise ConfigError(f"num_partitions={self.num_partitions}: must be at least 1")
        if self.min_caption_words < 1:
            raise ConfigError(f"min_caption_words={self.min_caption_words}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class CapConfig:
    """How many pairs a query may select (CLIP, section 2.2: up to 20,000)."""

    max_pairs: int = 20_000  # pairs that one query selects at the most
    mode: Literal["strict", "expected"] = "strict"  # exactly min(cap, matches) a query, or that number on average
    seed: int = 0  # which pairs the cap takes; the same seed takes the same pairs

    def __post_init__(self) -> None:
        if self.max_pairs < 1:
            raise ConfigError(f"max_pairs={self.max_pairs}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class CrawlConfig:
    """How pictures are fetched and stored."""

    user_agent: str = "openwit/0.1"  # how the crawler names itself; add a contact URL for the open web
    connect_to: tuple[str, ...] = ()  # HOST=ADDRESS:PORT (HOST may start with *.): the only way to private addresses
    deadline_s: float = 10.0  # total time of one fetch, redirects and body included
    max_body_bytes: int = 20_000_000  # larger answers are cut off and counted
    max_redirects: int = 5  # redirects followed
    retries: int = 0  # further tries of a failed fetch
    threads: int = 64  # fetches at once in a worker
    image_px: int = 256  # larger pictures are reduced to this shorter side
    max_image_pixels: int = 50_000_000  # larger pictures are refused by their header, before decoding
    jpeg_quality: int = 95  # of the stored pictures

    def __post_init__(self) -> None:
        for name in ("deadline_s", "max_body_bytes", "threads", "image_px", "max_image_pixels"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be positive")
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"jpeg_quality={self.jpeg_quality}: must lie in 1..100")
        for entry in self.connect_to:
            host, _, address = entry.partition("=")
            if not host or not address.rpartition(":")[2].isdigit():
                raise ConfigError(f"connect_to={entry}: expected HOST=ADDRESS:PORT, e.g. *.example.test=127.0.0.1:8737")
