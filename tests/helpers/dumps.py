"""MediaWiki exports that tests write."""

from __future__ import annotations

import bz2
import gzip
import itertools
import random
from collections.abc import Iterable
from html import escape
from pathlib import Path

import zstandard

HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>enwiki</dbname>
    <base>https://en.wikipedia.org/wiki/Main_Page</base>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Talk</namespace>
      <namespace key="6" case="first-letter">File</namespace>
      <namespace key="10" case="first-letter">Template</namespace>
      <namespace key="14" case="first-letter">Category</namespace>
      <namespace key="100" case="first-letter">Portal</namespace>
    </namespaces>
  </siteinfo>
"""
FOOTER = "</mediawiki>\n"


def page(title: str, text: str = "", *, namespace: int = 0, redirect: str = "") -> str:
    """One page's XML as MediaWiki writes it."""
    leads = f'    <redirect title="{escape(redirect)}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>1</id>\n{leads}"
        f"    <revision>\n      <id>2</id>\n      <contributor>\n        <username>A</username>\n"
        f'      </contributor>\n      <text xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


def write_dump(path: Path, pages: Iterable[str]) -> Path:
    """The export as `path`, compressed as its suffix says; .bz2 and .zst with a stream or frame for each page."""
    parts = [part.encode() for part in (HEADER, *pages, FOOTER)]
    if path.suffix == ".bz2":
        path.write_bytes(b"".join(bz2.compress(part) for part in parts))
    elif path.suffix == ".zst":
        path.write_bytes(b"".join(zstandard.compress(part) for part in parts))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(b"".join(parts), mtime=0))
    else:
        path.write_bytes(b"".join(parts))
    return path


def write_streams(path: Path, text: bytes, cuts: Iterable[int]) -> list[int]:
    """Writes `text` to `path` as bz2 streams that begin at its start and at `cuts`; where they begin in the file."""
    places = sorted({0, *cuts, len(text)})
    streams = [bz2.compress(text[start:end]) for start, end in itertools.pairwise(places)]
    path.write_bytes(b"".join(streams))
    return list(itertools.accumulate((len(stream) for stream in streams[:-1]), initial=0))


def write_large_dumps(folder: Path, num_parts: int, num_words: int) -> list[Path]:
    """Parts of a dump with words drawn from a seed, so that some are frequent and some pairs stick together."""
    chance = random.Random(7)
    vocabulary = [f"word{n}" for n in range(2000)]
    weights = [1 / (n + 1) for n in range(2000)]
    paths = []
    for part in range(num_parts):
        drawn = chance.choices(vocabulary, weights, k=num_words)
        text = "\n".join(" ".join([*drawn[at : at + 20], f"grand slam{part % 3}"]) for at in range(0, num_words, 20))
        pages = [page(f"Article {part}", text), page(f"Shortcut {part}", "x", redirect=f"Article {part}")]
        paths.append(write_dump(folder / f"part{part}.xml.bz2", pages))
    return paths
