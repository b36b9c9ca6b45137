"""Settings of the data pipeline: candidates and matching, the cap, the crawl. Light to import.

How much the statistics show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from openwit.config import Free
from openwit.errors import ConfigError

FileKind = Literal["auto", "wat", "parquet", "csv", "tsv", "jsonl"]
ResizeMode = Literal["no", "keep_ratio", "center_crop", "border", "keep_ratio_largest"]

ROBOTS_TAGS = ("noai", "noimageai", "noml", "none", "noindex", "noimageindex")


@dataclass(frozen=True, kw_only=True)
class SourcesConfig:
    """Where (image URL, caption) pairs come from: WAT files of a crawl, or tables of URLs."""

    wat_paths: str = ""  # list of WAT files as a crawl publishes it: wat.paths or wat.paths.gz, local or URL
    wat_prefix: str = "https://data.commoncrawl.org/"  # what stands before each path of that list
    files: tuple[str, ...] = ()  # further files or patterns (*, ?), local or URL: WAT, parquet, csv, tsv, jsonl
    kind: FileKind = "auto"  # what `files` are whose names do not end in .wat or .wat.gz; auto: what their names say
    url_column: str = ""  # column of image URLs, or its number from 1 without a header; empty: the usual names
    caption_column: str = ""  # column of captions, or its number from 1 without a header; empty: the usual names
    max_files: int | None = None  # read only the first files
    write_candidates: bool = False  # write candidates/ too: all pairs worth matching, matched or not; a pass of its own

    def __post_init__(self) -> None:
        if self.max_files is not None and self.max_files < 1:
            raise ConfigError(f"max_files={self.max_files}: must be at least 1")
        if bool(self.url_column) != bool(self.caption_column):
            raise ConfigError(
                f"url_column={self.url_column!r}, caption_column={self.caption_column!r}: name both columns or neither"
            )


@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """Which pairs are worth matching (the lists are in datagen/match/filters.py), and how they are matched."""

    title_without_alt: bool = True  # the title attribute is the caption where there is no alt text
    min_caption_chars: int = 1  # shorter captions are dropped
    max_caption_chars: int = 1000  # longer captions are dropped
    min_caption_words: int = 1  # captions of fewer words are dropped
    max_caption_words: int = 200  # captions of more words are dropped
    drop_boilerplate: bool = True  # drop captions that are a file name, a number, or say only "image", "logo", …
    drop_trackers: bool = True  # drop images whose address says that they only count visits
    match_mode: Literal["words", "metaclip"] = "words"  # words in a row; or MetaCLIP's rule, for comparison

    def __post_init__(self) -> None:
        for unit in ("chars", "words"):
            least, most = getattr(self, f"min_caption_{unit}"), getattr(self, f"max_caption_{unit}")
            if not 1 <= least <= most:
                raise ConfigError(f"min_caption_{unit}={least}, max_caption_{unit}={most}: need 1 <= min <= max")


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """What the pairs of one file depend on: the rules, and how to read a table."""

    kind: FileKind = "auto"  # as sources.kind
    url_column: str = ""  # as sources.url_column
    caption_column: str = ""  # as sources.caption_column
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)  # the rules


@dataclass(frozen=True, kw_only=True)
class ShuffleConfig:
    """How matched pairs are dealt to partitions, in which their copies are found and the cap is applied."""

    num_partitions: int = 4  # by hash of the image URL; a worker holds one, 170 bytes a matched pair
    bundle_mb: float = 512.0  # matched files dealt at once, by their size; a worker holds four times that

    def __post_init__(self) -> None:
        if self.num_partitions < 1:
            raise ConfigError(f"num_partitions={self.num_partitions}: must be at least 1")
        if self.bundle_mb <= 0:
            raise ConfigError(f"bundle_mb={self.bundle_mb}: must be positive")


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
    """How images are fetched and stored. Free is what says how one fetches, not what is kept of it."""

    user_agent: Free[str] = "openwit/0.1"  # how the crawler names itself; the web needs a contact: "bot/1 (+https://…)"
    connect_to: Free[tuple[str, ...]] = ()  # HOST=ADDRESS:PORT (or *.HOST=…): the only way to private addresses
    deadline_s: Free[float] = 10.0  # total time of one try, redirects and body included; waiting for a slot is not
    max_body_bytes: int = 20_000_000  # larger answers are cut off and counted
    max_held_bytes: Free[int] = 200_000_000  # of fetched bodies that a worker holds at once
    max_redirects: Free[int] = 5  # redirects followed
    retries: Free[int] = 2  # further tries after 429, 502, 503, 504, timeouts and broken connections
    backoff_s: Free[float] = 1.0  # first pause before another try; doubled each time, drawn from 0 up to it
    max_backoff_s: Free[float] = 60.0  # longest pause, and the longest Retry-After that is waited for
    threads: Free[int] = 64  # fetches at once in a worker
    host_requests_per_s: Free[float] = 10.0  # to one host, over all workers
    host_connections: Free[int] = 4  # requests at once to one host, over all workers
    host_failures: Free[int] = 10  # failures in a row after which a host is given up for the run
    robots_txt: bool = True  # robots.txt is obeyed
    max_crawl_delay_s: Free[float] = 30.0  # a longer Crawl-delay of robots.txt is cut to this
    robots_tags: tuple[str, ...] = ROBOTS_TAGS  # directives of X-Robots-Tag that forbid an image
    tdm_reservation: bool = True  # tdm-reservation headers and /.well-known/tdmrep.json forbid images
    limiter_address: Free[str] = "127.0.0.1"  # where the driver limits requests to hosts; its address on a cluster
    resize_mode: ResizeMode = "keep_ratio"  # image_px is the shorter side; of border and keep_ratio_largest, the longer
    image_px: int = 256  # to which images are resized; center_crop and border make squares of it
    resize_only_if_bigger: bool = True  # smaller images stay as they are
    min_image_px: int = 0  # images with a shorter side are refused
    max_aspect_ratio: float | None = None  # images whose longer side is more times the shorter are refused
    max_image_pixels: int = 50_000_000  # larger images are refused by their header, before decoding
    max_decoding_bytes: int = 160_000_000  # images that would take more memory to decode are refused by their header
    jpeg_quality: int = 95  # of the stored images
    shard_rows: int = 10_000  # image URLs a shard, at the most

    def __post_init__(self) -> None:
        for name in (
            "deadline_s", "max_body_bytes", "threads", "host_requests_per_s", "host_connections", "host_failures",
            "image_px", "max_image_pixels", "max_decoding_bytes", "shard_rows",
        ):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must be positive")
        for name in ("max_redirects", "retries", "backoff_s", "max_backoff_s", "max_crawl_delay_s", "min_image_px"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: must not be negative")
        if self.max_held_bytes < self.max_body_bytes:
            raise ConfigError(f"max_held_bytes={self.max_held_bytes}: must be at least {self.max_body_bytes} (a body)")
        if not re.fullmatch(r"[\x21-\x7e][\x20-\x7e]*", self.user_agent):
            raise ConfigError(
                f"user_agent={self.user_agent!r}: expected ASCII, e.g. mybot/1.0 (+https://example.org/bot)"
            )
        if self.shard_rows > 100_000:
            raise ConfigError(f"shard_rows={self.shard_rows}: must be at most 100000, keys have five digits a shard")
        if self.max_aspect_ratio is not None and self.max_aspect_ratio < 1:
            raise ConfigError(f"max_aspect_ratio={self.max_aspect_ratio}: must be at least 1, or none")
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f"jpeg_quality={self.jpeg_quality}: must lie in 1..100")
        for entry in self.connect_to:
            host, _, address = entry.partition("=")
            if not host or not address.rpartition(":")[2].isdigit():
                raise ConfigError(f"connect_to={entry}: expected HOST=ADDRESS:PORT, e.g. *.example.test=127.0.0.1:8737")

    @property
    def has_contact(self) -> bool:
        """Whether the agent names a page or mail address under which its owner is reached."""
        return re.search(r"https?://[^\s)]+|[^\s@(]+@[^\s@)]+\.[^\s@)]+", self.user_agent) is not None

    def require_contact(self) -> None:
        """Raises ConfigError where the agent names no contact: sites that are not ours must know whom to ask."""
        if not self.has_contact:
            raise ConfigError(
                f"crawl.user_agent={self.user_agent}: names no contact; write e.g. "
                '--crawl.user_agent "mybot/1.0 (+https://example.org/bot)"'
            )


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """Which failed rows are fetched again."""

    reasons: tuple[str, ...]  # words of the statistics, e.g. timeout, dns, http_503; 5xx stands for all of http_5..

    def __post_init__(self) -> None:
        for reason in self.reasons or ("",):
            if not re.fullmatch(r"[a-z][a-z0-9_]*|[1-5]xx", reason):
                raise ConfigError(f"retry={reason}: is no reason; write e.g. --retry timeout,dns,5xx")


@dataclass(frozen=True, kw_only=True)
class StatisticsConfig:
    """How much the statistics show; the numbers themselves always come from every row."""

    gallery: int = 48  # sample images on the page
    rows: int = 15  # of the lists: hosts, reasons, the queries' head and tail

    def __post_init__(self) -> None:
        if self.gallery < 0:
            raise ConfigError(f"gallery={self.gallery}: must not be negative; 0 shows no images")
        if self.rows < 1:
            raise ConfigError(f"rows={self.rows}: must be at least 1")
