"""Images that are whole but odd, damaged, or made to take a decoder's time and memory."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from helpers.odd_images import chunk
from helpers.photographs import encoded, photograph

IMAGE = photograph(120, 160)
JPEG, PROGRESSIVE = encoded(IMAGE, quality=90), encoded(IMAGE, quality=90, progressive=True)
PNG, GIF = encoded(IMAGE, "PNG"), encoded(IMAGE.quantize(16), "GIF")
START_OF_SCAN, END = b"\xff\xda", b"\xff\xd9"
GIF_TABLES_END = 13 + 3 * 16


def shown(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] by Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def jpeg_with(segment: bytes, data: bytes = JPEG) -> bytes:
    return data[:2] + segment + data[2:]


def motion_photo(data: bytes) -> bytes:
    """With a film behind its end, in which a hundred scans seem to begin."""
    return data + np.random.default_rng(1).bytes(300_000) + START_OF_SCAN * 102 + data


def thumbnail_in_exif() -> bytes:
    note = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + encoded(photograph(30, 40), progressive=True)
    return jpeg_with(b"\xff\xe1" + struct.pack(">H", len(note) + 2) + note)


def png_with(name: bytes, content: bytes, is_damaged: bool = False) -> bytes:
    """A PNG with a chunk behind its header."""
    added = bytearray(chunk((name, content)))
    added[-1] ^= is_damaged
    return PNG[:33] + bytes(added) + PNG[33:]


def large_text(name: bytes) -> bytes:
    """20 MB of text or profile in 20 kB."""
    head = {b"iCCP": b"a\0\0", b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}[name]
    return png_with(name, head + zlib.compress(bytes(20_000_000), 9))


def gif_with(blocks: bytes) -> bytes:
    """A GIF with blocks before its first frame."""
    return GIF[:GIF_TABLES_END] + blocks + GIF[GIF_TABLES_END:]


def gif_bomb() -> bytes:
    """43 bytes whose frame is 65535 pixels a side, on a screen of one."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)
    return head + b"\x21\xf9\x04\1\0\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\0;"


def tiff(entries: list[tuple[int, int, int, int]], behind: bytes) -> bytes:
    """A TIFF of 64x64 grey pixels with further entries (tag, type, count, value), and bytes behind its directory."""
    plain = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries = sorted(plain + entries)
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + behind


def tiff_of_strips(count: int) -> bytes:
    start = 10 + 12 * 9 + 4
    return tiff([(273, 4, count, start), (278, 4, 1, 1), (279, 4, count, start)], bytes(4 * count))


def tiff_of_rationals(count: int) -> bytes:
    start = 10 + 12 * 10 + 4
    return tiff([(273, 4, 1, start), (278, 4, 1, 64), (279, 4, 1, 4096), (282, 5, count, start)], bytes(8 * count))


def bmp_of_runs(size: tuple[int, int], runs: bytes, bits: int = 8) -> bytes:
    """A bitmap of run lengths; colour k of its palette is grey of level k."""
    palette = b"".join(bytes([level, level, level, 0]) for level in range(1 << bits))
    start = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, *size, 1, bits, {8: 1, 4: 2}[bits], len(runs), 0, 0, 1 << bits, 0)
    return b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + info + palette + runs
