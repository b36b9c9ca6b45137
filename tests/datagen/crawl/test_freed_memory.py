from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from datagen.crawl.freed_memory import return_large_blocks

FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
ROOT = Path(__file__).parents[3]
LIBRARY = ctypes.CDLL(None)


class Heap(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def paged_bytes() -> int:
    """Bytes in blocks that have pages of their own."""
    LIBRARY.mallinfo2.restype = Heap
    return int(LIBRARY.mallinfo2().hblkhd)


def main() -> None:
    """In a process of its own, as what others left in the heap would be used first."""
    for num_bytes in (1_200_000, 5_000_000, 20_000_000):
        bytes(num_bytes)  # each freed block would raise the limit
    return_large_blocks()
    for num_bytes in (1_200_000, 5_000_000, 20_000_000):
        before = paged_bytes()
        held = bytes(num_bytes)
        assert paged_bytes() - before >= num_bytes
        del held
        assert paged_bytes() == before


@pytest.mark.skipif(not hasattr(LIBRARY, "mallinfo2"), reason="needs glibc's mallinfo2")
def test_large_blocks_have_pages_of_their_own_however_many_were_freed_before() -> None:
    done = subprocess.run([sys.executable, __file__], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    main()
