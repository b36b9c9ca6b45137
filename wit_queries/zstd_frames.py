"""One frame of a .zst file, decompressed a block at a time: zstandard's own objects swell a whole input at once."""

from __future__ import annotations

import zstandard

MAX_WINDOW_BYTES = 1 << 31  # what `zstd --long=31` writes
MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"  # bytes 1 to 3 of a frame without data, as parallel writers put between theirs
_MAX_BLOCK_BYTES = 128 << 10


class ZstdFrame:
    """A frame with the interface of bz2's decompressor. A step gives at most one block, 128 KiB, whatever its
    `max_length`. Raises ZstdError where the data is damaged. The layout is RFC 8878's, sections 3.1.1 and 3.1.2."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        self._held, self._at = b"", 0
        self._in_blocks = self._has_checksum = False
        self._num_skipped = 0  # bytes of a skippable frame that are still to come
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        """What follows the frame's end."""
        return self._held[self._at :]

    @property
    def needs_input(self) -> bool:
        """Whether the next step has to wait for more data."""
        return not self._num_piece_bytes()

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The text of the next block, or b"" where it is not whole yet."""
        assert max_length >= _MAX_BLOCK_BYTES
        if data:
            self._held, self._at = self._held[self._at :] + data, 0
        num_bytes = self._num_piece_bytes()
        if not num_bytes:
            return b""
        piece = self._held[self._at : self._at + num_bytes]
        self._at += num_bytes
        if self._num_skipped or (not self._in_blocks and piece[1:4] == SKIPPABLE):
            self._skip(piece)
            return b""
        self.eof = self._in_blocks and bool(piece[0] & 1)
        self._has_checksum = self._has_checksum if self._in_blocks else bool(piece[4] & 4)
        self._in_blocks = True
        return self._inner.decompress(piece)

    def _skip(self, piece: bytes) -> None:
        if self._num_skipped:
            self._num_skipped -= len(piece)
        else:
            self._num_skipped = int.from_bytes(piece[4:8], "little")
        self.eof = not self._num_skipped

    def _num_piece_bytes(self) -> int:
        """The length of the header, or of the block (the last one with its checksum), that comes next; 0 where it
        is not whole yet."""
        at, num_held = self._at, len(self._held) - self._at
        if self._num_skipped:
            return min(self._num_skipped, num_held)
        if num_held < 5 - 2 * self._in_blocks:
            return 0
        if self._in_blocks:
            block = int.from_bytes(self._held[at : at + 3], "little")
            is_run = (block >> 1) & 3 == 1  # one byte, repeated
            needed = 3 + (1 if is_run else block >> 3) + 4 * (block & 1 and self._has_checksum)
        elif self._held[at + 1 : at + 4] == SKIPPABLE:
            needed = 8
        elif not self._held.startswith(MAGIC, at):
            raise zstandard.ZstdError("no frame begins here")
        else:
            flags = self._held[at + 4]
            is_single = flags >> 5 & 1
            needed = 6 - is_single + (0, 1, 2, 4)[flags & 3] + (is_single, 2, 4, 8)[flags >> 6]
        return needed if needed <= num_held else 0
