"""Which queries stand in a caption.

How MetaCLIP cuts a caption before it looks for entries in it, compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import pyarrow as pa

from openwit.errors import ConfigError
from openwit.kernels.buffers import Bytes, Offsets, text_array, utf8_buffers
from openwit.kernels.compiled import compiled
from wit_queries.matching import table as match_table
from wit_queries.matching.kernel import match_tokens, sort_each
from wit_queries.matching.table import MatchTable
from wit_queries.text.fast_normalize import normalize_batch

PUNCTUATION = ",.;:?!`"
WHITE_SPACE = "\t\n\r"
_SPACED, _SPACE = 1, 2
_KINDS = np.zeros(256, dtype=np.uint8)
_KINDS[list(PUNCTUATION.encode())] = _SPACED
_KINDS[list(WHITE_SPACE.encode())] = _SPACE


def spaced_batch(captions: pa.Array) -> tuple[Bytes, Offsets]:
    """The captions with a space before and after each of , . ; : ? ! ` and with a space for each tab, line feed and
    carriage return; nothing else is changed. Bytes and places between the captions."""
    data, offsets = utf8_buffers(captions)
    return _spaced(data, offsets, _KINDS)


@compiled
def _spaced(data: Bytes, offsets: Offsets, kinds: Bytes) -> tuple[Bytes, Offsets]:
    num_bytes = 0
    for at in range(offsets[0], offsets[-1]):
        num_bytes += 3 if kinds[data[at]] == _SPACED else 1
    out = np.empty(num_bytes, dtype=np.uint8)
    places = np.zeros(len(offsets), dtype=np.int64)
    pos = 0
    for number in range(len(offsets) - 1):
        for at in range(offsets[number], offsets[number + 1]):
            kind = kinds[data[at]]
            if kind == 0:
                out[pos] = data[at]
                pos += 1
            elif kind == _SPACE:
                out[pos] = 32
                pos += 1
            else:
                out[pos], out[pos + 1], out[pos + 2] = 32, data[at], 32
                pos += 3
        places[number + 1] = pos
    return out, places


Mode = Literal["words", "metaclip"]
MODES: tuple[Mode, ...] = get_args(Mode)
CHUNK_BYTES = 1 << 18  # of captions at a time: what is made of them stays in the processor's cache
CHUNK_CAPTIONS = 1 << 13


class QueryMatcher:
    """Finds all queries in captions; a query's id is its place in the sequence. Raises ConfigError for an unknown mode.

    `words`: a query matches where its normalised words stand in the caption in a row. A query without any word matches
    nothing. `metaclip`, for comparison with that data set: in a caption a space is put before and after each of
    , . ; : ? ! ` and in place of tab, line feed and carriage return; then a query matches where it stands in the
    caption, letter by letter, cased, between two spaces, the caption's ends counting as spaces. The query itself is
    left as it is, so that one with such punctuation inside a word never matches.
    """

    def __init__(self, queries: Sequence[str], mode: Mode = "words") -> None:
        if mode not in MODES:
            raise ConfigError(f"mode={mode}: unknown way of matching; write one of {', '.join(MODES)}")
        data, offsets = utf8_buffers(text_array(queries))
        absent = np.zeros(len(queries), dtype=np.bool_)
        if mode == "words":
            data, offsets = utf8_buffers(normalize_batch(text_array(queries)))
            absent = np.diff(offsets) == 0
        self._use(match_table.build(data, offsets, absent, MODES.index(mode)))

    def _use(self, table: MatchTable) -> None:
        self._table = table
        self.mode = MODES[table.mode]
        self.num_queries = table.num_queries

    @classmethod
    def open(cls, path: str) -> QueryMatcher:
        """The matcher that was saved in a local file, mapped into memory: all processes of a machine that open it share
        it. Raises InputError, naming the file, where it is missing, of another format or version, or damaged."""
        matcher = cls.__new__(cls)
        matcher._use(match_table.load(path))
        return matcher

    def save(self, path: str) -> None:
        """Publishes the matcher as one file for `open`."""
        match_table.save(self._table, path)

    @property
    def num_bytes(self) -> int:
        """The size of the table, in memory as in the file."""
        return self._table.block.nbytes

    def match(self, captions: Sequence[str]) -> list[list[int]]:
        """For each caption the ids of its queries, ascending, each once."""
        found: list[list[int]] = self.match_array(text_array(captions)).to_pylist()
        return found

    def match_array(self, captions: pa.Array) -> pa.ListArray:
        """For each caption of a (large) string array the ids of its queries, int32, ascending, each once; a null is
        empty. Other Python threads run meanwhile. Raises what normalize_batch raises, and ValueError for more than 2^31
        matches."""
        _, offsets = utf8_buffers(captions)
        sizes, parts = [np.zeros(1, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
        ids = np.empty(8 * CHUNK_CAPTIONS, dtype=np.int32)
        for start, end in _chunks(offsets):
            data, places = self._tokens(captions.slice(start, end - start))
            ends = np.zeros(len(places), dtype=np.int64)
            done = 0
            while (done := match_tokens(data, places, done, self._table.arrays, ids, ends)) < end - start:
                ids = np.concatenate([ids, np.empty_like(ids)])
            parts.append(sort_each(ids, ends, self.num_queries))
            sizes.append(np.diff(ends))
        total = np.cumsum(np.concatenate(sizes))
        if total[-1] > np.iinfo(np.int32).max:
            raise ValueError(f"{total[-1]} matches in one array; give the captions in smaller arrays")
        return pa.ListArray.from_arrays(pa.array(total.astype(np.int32)), pa.array(np.concatenate(parts)))

    def _tokens(self, captions: pa.Array) -> tuple[Bytes, Offsets]:
        return spaced_batch(captions) if self.mode == "metaclip" else utf8_buffers(normalize_batch(captions))


def _chunks(offsets: Offsets) -> Iterator[tuple[int, int]]:
    """Start and end of runs of captions of at most CHUNK_BYTES, at least one caption each."""
    start, last = 0, len(offsets) - 1
    while start < last:
        fits = int(np.searchsorted(offsets, offsets[start] + CHUNK_BYTES, "right")) - 1
        end = max(start + 1, min(fits, start + CHUNK_CAPTIONS, last))
        yield start, end
        start = end
