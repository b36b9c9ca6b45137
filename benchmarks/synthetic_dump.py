"""A dump of any size from the articles of a real one, written as Wikimedia does: bz2 streams end to end (multistream).

Every repetition of the pages is compressed anew: its titles get the repetition's number, and of the lower-case words
between two spaces three in ten change places. So titles are distinct, and the number of different pairs of words grows
with the dump as in a real one (a mere copy would have none after the first repetition); links, templates, references
and tables stay what they are, and so does the number of different words. A stream holds about 1 MB of XML, as
Wikimedia's 100 pages do.
"""

from __future__ import annotations

import bz2
import multiprocessing
import re
from pathlib import Path

import numpy as np

_PAGE = re.compile(rb" *<page>.*?</page>\n", re.DOTALL)
_WORD = re.compile(rb"(?<= )([a-z]{3,12})(?= )")
_TITLE = re.compile(rb"(<title>[^<]*)(</title>)")
_SHARE_MOVED = 0.3
_STREAM_BYTES = 1 << 20


def write_synthetic_dump(path: Path, excerpt: Path, num_bytes: int, processes: int = 2) -> int:
    """Writes the dump; returns its size decompressed, at least `num_bytes`."""
    data = bz2.decompress(excerpt.read_bytes())
    header, pages = data[: data.index(b"<page>")].rstrip(b" "), b"".join(_PAGE.findall(data))
    repetitions = -(-num_bytes // len(pages))
    footer = b"</mediawiki>\n"
    with multiprocessing.get_context("spawn").Pool(processes, _load, (pages,)) as pool, path.open("wb") as file:
        file.write(bz2.compress(header))
        size = len(header) + len(footer)
        for streams, streams_bytes in pool.imap(_repetition, range(repetitions)):
            file.write(streams)
            size += streams_bytes
        file.write(bz2.compress(footer))
    return size


_pieces: list[bytes] = []


def _load(pages: bytes) -> None:
    _pieces[:] = _WORD.split(pages)


def _repetition(number: int) -> tuple[bytes, int]:
    """The pages once more, compressed, and their size before."""
    chance = np.random.default_rng(number)
    pieces = _pieces.copy()
    num_words = len(pieces) // 2
    moved = 2 * chance.choice(num_words, int(num_words * _SHARE_MOVED), replace=False) + 1
    for place, word in zip(moved, [pieces[index] for index in chance.permutation(moved)], strict=True):
        pieces[place] = word
    text = _TITLE.sub(rb"\1 (%d)\2" % number, b"".join(pieces))
    streams = []
    stream: list[bytes] = []
    stream_bytes = 0
    for page in _PAGE.findall(text):
        stream.append(page)
        stream_bytes += len(page)
        if stream_bytes >= _STREAM_BYTES:
            streams.append(bz2.compress(b"".join(stream)))
            stream, stream_bytes = [], 0
    if stream:
        streams.append(bz2.compress(b"".join(stream)))
    return b"".join(streams), len(text)
