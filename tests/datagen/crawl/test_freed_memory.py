from __future__ import annotations

import ctypes

import pytest

from datagen.crawl.freed_memory import return_large_blocks

FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
LIBRARY = ctypes.CDLL(None)


class Heap(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def paged_bytes() -> int:
    """Bytes in blocks that have pages of their own."""
    LIBRARY.mallinfo2.restype = Heap
    return int(LIBRARY.mallinfo2().hblkhd)


@pytest.mark.skipif(not hasattr(LIBRARY, "mallinfo2"), reason="needs glibc's mallinfo2")
def test_large_blocks_have_pages_of_their_own_however_many_were_freed_before() -> None:
    for num_bytes in (1_200_000, 5_000_000, 20_000_000):
        bytes(num_bytes)  # each freed block would raise the limit
    return_large_blocks()
    for num_bytes in (1_200_000, 5_000_000, 20_000_000):
        before = paged_bytes()
        held = bytes(num_bytes)
        assert paged_bytes() - before >= num_bytes
        del held
        assert paged_bytes() == before
