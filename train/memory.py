"""Memory for encoded pictures that wait in a window, used again and again. The holes that they would leave in the
system's, each of another size, are searched by every decoding, which asks for large pieces too."""

from __future__ import annotations

from collections import defaultdict

STEP_BYTES = 4 << 10
SIZES = range(STEP_BYTES, 1 << 20)  # what is smaller goes quickly anyway, what is larger is rare


class MemberMemory:
    """Lends memory and takes it back; any thread may ask."""

    def __init__(self) -> None:
        self._free: defaultdict[int, list[bytearray]] = defaultdict(list)

    def lend(self, num_bytes: int) -> memoryview:
        """So many bytes, not set."""
        whole = -(-num_bytes // STEP_BYTES) * STEP_BYTES
        free = self._free[whole]
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(whole)
        return memoryview(memory)[:num_bytes]

    def take_back(self, lent: memoryview) -> None:
        """From now on whoever reads it gets ValueError."""
        memory = lent.obj
        lent.release()
        assert isinstance(memory, bytearray)
        self._free[len(memory)].append(memory)
