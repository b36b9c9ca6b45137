"""The list of queries as one block of memory: a trie of tokens in a hash table, written to a file as it is and read
from it by mapping, so that all workers of a machine share one copy.

The block: HEADER, CHECKSUM, `slots`, `step_filter`, `lists`, `long_tokens`. A slot is (key, value), a free one (0, 0).
There is a slot for each distinct token, found by its bytes, and one for each step from a node by a token, found by the
two slots' numbers. The slot of a query's first token is the node that it begins at; the slot of its last step (or only
token) holds its id. Keys of tokens up to 7 bytes and of steps are exact; longer tokens are compared byte by byte.
`step_filter` has a bit set for each step, so that most steps that are not there are not looked for. `lists` holds, for
queries with the same tokens, their number and their ids.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openwit import storage
from openwit.errors import ConfigError, InputError
from openwit.kernels.buffers import Bytes, Offsets
from wit_queries.matching.slots import NODE_BITS, SEVERAL, Bits, Ids, Slots, fill_filter, insert_queries

MAGIC = b"WITMATCH"
VERSION = 1
HEADER = struct.Struct("<8sIIQ4Q4x")  # magic, version, mode, queries, bytes of the four parts; then CHECKSUM
CHECKSUM = struct.Struct("<I")  # crc32 of all else
HEADER_BYTES = HEADER.size + CHECKSUM.size
SLOTS_PER_NODE = 2  # a table that is half full answers at the first look
FILTER_BITS_PER_NODE = 8  # small enough for a processor's own cache; some 95 of 100 steps that lead nowhere fail here


@dataclass(frozen=True)
class MatchTable:
    """Read-only views of one block."""

    block: Bytes
    mode: int
    num_queries: int
    slots: Slots
    step_filter: Bits
    lists: Ids
    long_tokens: Bytes

    @property
    def arrays(self) -> tuple[Slots, Bits, Ids, Bytes]:
        """What the kernel reads."""
        return self.slots, self.step_filter, self.lists, self.long_tokens


def build(data: Bytes, offsets: Offsets, absent: npt.NDArray[np.bool_], mode: int) -> MatchTable:
    """The table of the queries, cut at each space; a query's id is its number. Those that are `absent` match nothing.
    Raises ConfigError where there are too many."""
    num_bytes = int(offsets[-1] - offsets[0])
    num_tokens = int(np.count_nonzero(data[offsets[0] : offsets[-1]] == ord(" "))) + len(absent)
    if max(2 * SLOTS_PER_NODE * num_tokens, num_bytes + 4 * num_tokens) >= 1 << NODE_BITS:
        raise ConfigError(f"{len(absent)} queries of {num_tokens} words: too many for one matcher; use several")
    long_tokens = np.empty(num_bytes + 4 * num_tokens, dtype=np.uint8)
    num_slots = 2 * SLOTS_PER_NODE * num_tokens + 1  # were each token new, and a new step
    for _ in range(2):  # the first time only to count them
        slots = np.zeros(2 * num_slots, dtype=np.int64)
        reached, num_nodes, num_long = insert_queries(data, offsets, absent, slots, long_tokens)
        num_slots = SLOTS_PER_NODE * num_nodes + 1
    step_filter = np.zeros(FILTER_BITS_PER_NODE * num_nodes // 64 + 1, dtype=np.int64)
    fill_filter(slots, step_filter)
    lists = _add_ids(slots, reached)
    parts = [part.view(np.uint8) for part in (slots, step_filter, lists, long_tokens[:num_long])]
    sizes = [len(part) for part in parts]
    block = np.zeros(HEADER_BYTES + sum(sizes), dtype=np.uint8)
    block[HEADER_BYTES:] = np.concatenate(parts)
    HEADER.pack_into(block.data, 0, MAGIC, VERSION, mode, len(absent), *sizes)
    CHECKSUM.pack_into(block.data, HEADER.size, _checksum(block))
    return _views(block)


def save(table: MatchTable, path: str) -> None:
    """Publishes the table as one file."""
    storage.write_bytes(path, table.block.tobytes())


def load(path: str) -> MatchTable:
    """The table of a local file, mapped: its memory is shared by all processes that open it. Raises InputError,
    naming the file, where it is missing, of another format or version, cut short or damaged."""
    if not storage.is_local(path):
        raise InputError(f"{path}: a matcher is mapped into memory: copy it to a local file")
    with storage.reading(path), Path(storage.local_path(path)).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = file.read(HEADER_BYTES)
        if found[: len(MAGIC)] != MAGIC:
            raise InputError(f"{path}: is no matcher; expected a file that QueryMatcher.save wrote")
        if len(found) < HEADER_BYTES:
            raise InputError(f"{path}: is cut short: {size} bytes")
        _, version, _, _, *sizes = HEADER.unpack_from(found)
        if version != VERSION:
            raise InputError(f"{path}: is a matcher of version {version}, expected {VERSION}; build it again")
        if size != HEADER_BYTES + sum(sizes):
            raise InputError(f"{path}: holds {size} bytes, expected {HEADER_BYTES + sum(sizes)}; build it again")
        block = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    if CHECKSUM.unpack_from(found, HEADER.size) != (_checksum(block),):
        raise InputError(f"{path}: is damaged (its checksum is another); build it again")
    return _views(block)


def _checksum(block: Bytes) -> int:
    return zlib.crc32(block[HEADER_BYTES:].data, zlib.crc32(block[: HEADER.size].data))


def _views(block: Bytes) -> MatchTable:
    block.flags.writeable = False
    _, _, mode, num_queries, *sizes = HEADER.unpack_from(block.data)
    slots, step_filter, lists, long_tokens = np.split(block[HEADER_BYTES:], np.cumsum(sizes)[:-1])
    views = (slots.view(np.int64), step_filter.view(np.int64), lists.view(np.int32), long_tokens)
    return MatchTable(block, mode, num_queries, *views)


def _add_ids(slots: Slots, reached: Ids) -> Ids:
    """Writes to each node which queries end there; returns the lists of those that share a node."""
    ids = np.flatnonzero(reached >= 0)
    ids = ids[np.argsort(reached[ids], kind="stable")]
    nodes, starts, counts = np.unique(reached[ids], return_index=True, return_counts=True)
    one = counts == 1
    slots[2 * nodes[one] + 1] |= ids[starts[one]] + 1
    lists: list[int] = []
    for node, start, count in zip(nodes[~one], starts[~one], counts[~one], strict=True):
        slots[2 * node + 1] |= SEVERAL | len(lists)
        lists += [count, *ids[start : start + count]]
    return np.array(lists, dtype=np.int32)
