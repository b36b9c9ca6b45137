"""BMP, its run lengths too, and the binary kinds of PPM."""

from __future__ import annotations

import re
from dataclasses import dataclass

from openwit.errors import ImageError
from openwit.images.header import CONVERTED_BYTES, PLAIN_BYTES, Header

_RLE8, _RLE4 = 1, 2
_MAX_RUNS = 1_000_000
_PPM = re.compile(rb"P([456])(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})(?:\s|#[^\n\r]*[\n\r])+(\d{1,9})\s")


@dataclass(kw_only=True)
class BmpHeader(Header):
    """A bitmap; `run_bits` is 4 or 8 where its pixels are stored as lengths of runs."""

    run_bits: int = 0


def read_bmp(data: bytes) -> BmpHeader:
    """The bitmap's header. Raises ImageError where it has none."""
    if len(data) < 26:
        raise ImageError("image_truncated", "a BMP without a header")
    if int.from_bytes(data[14:18], "little") == 12:  # of OS/2
        width, height, bits, packing = _number(data, 18, 2), _number(data, 20, 2), _number(data, 24, 2), 0
    else:
        width = int.from_bytes(data[18:22], "little", signed=True)
        height = int.from_bytes(data[22:26], "little", signed=True)
        bits, packing = _number(data, 28, 2), _number(data, 30, 4)
    run_bits = {_RLE8: 8, _RLE4: 4}.get(packing, 0) if bits <= 8 else 0
    return BmpHeader(
        format="BMP",
        num_bytes=len(data),
        size=(width, abs(height)),
        data=data,
        pixel_bytes=PLAIN_BYTES + CONVERTED_BYTES * ((bits != 24) + (run_bits > 0)),
        run_bits=run_bits,
    )


def read_ppm(data: bytes) -> Header:
    """A binary PPM's, PGM's or PBM's header. Raises ImageError where it has none."""
    found = _PPM.match(data[:1000])
    if found is None:
        raise ImageError("image_undecodable", "a PPM without a size")
    return Header(
        format="PPM", size=(int(found[2]), int(found[3])), data=data, pixel_bytes=PLAIN_BYTES + CONVERTED_BYTES
    )


def unpacked(header: BmpHeader) -> bytes:
    """The bitmap of run lengths as one of whole rows, 8 bits a pixel; what no run covers has the palette's first
    colour. Raises ImageError where it ends early, or has very many runs."""
    data, (width, height) = header.data, header.size
    row_bytes = width + -width % 4
    rows = bytearray(row_bytes * height)
    place, x, y = _number(data, 10, 4), 0, 0  # rows from below
    for _ in range(_MAX_RUNS):
        if y >= height:
            break
        if place + 2 > len(data):
            raise ImageError("image_truncated", "a BMP whose runs end early")
        length, value = data[place], data[place + 1]
        place += 2
        if length:
            run = bytes([value]) * length if header.run_bits == 8 else (bytes([value >> 4, value & 15]) * 128)[:length]
        elif value == 0:
            x, y = 0, y + 1
            continue
        elif value == 1:
            break
        elif value == 2:
            x, y = x + _number(data, place, 1), y + _number(data, place + 1, 1)
            place += 2
            continue
        else:
            num_bytes = value if header.run_bits == 8 else (value + 1) // 2
            run = data[place : place + num_bytes]
            if header.run_bits == 4:
                run = bytes(half for byte in run for half in (byte >> 4, byte & 15))[:value]
            place += num_bytes + num_bytes % 2
        run = run[: max(0, width - x)]
        start = y * row_bytes + x
        rows[start : start + len(run)] = run
        x += len(run)
    else:
        raise ImageError("image_undecodable", f"a BMP of more than {_MAX_RUNS} runs")
    first = _number(data, 10, 4)
    info = bytearray(data[:first])
    info[28:30], info[30:38] = (8).to_bytes(2, "little"), bytes(8)
    if not any(info[46:50]):
        info[46:50] = (1 << header.run_bits).to_bytes(4, "little")  # how many colours its palette has
    return bytes(info) + bytes(rows)


def _number(data: bytes, place: int, length: int) -> int:
    return int.from_bytes(data[place : place + length], "little")
