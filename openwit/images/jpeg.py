"""JPEG: what its segments say, and its pixels by libjpeg-turbo, at reduced scale for those who want it smaller.

The decoder is strict. It fills with grey what a truncated file lacks, but it says so, whatever stands at the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg

from openwit.errors import ImageError
from openwit.images.exif import orientation
from openwit.images.header import U8, Header, Size, reduction

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # none of those that stand within a scan
_END_OF_IMAGE = b"\xff\xd9"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_KNOWN = {*range(0xC0, 0xFF)} - {*range(0xD0, 0xD9)}
_START_OF_SCAN, _END, _COMMENT, _ADOBE = 0xDA, 0xD9, 0xFE, 0xEE
_NOTES = {*range(0xE0, 0xF0), _COMMENT} - {_ADOBE}
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}  # components → the colours decoded to

_MAX_SEGMENTS = 20_000
_MAX_SCANS = 100  # usual are 1 to 12, and each passes over the whole image
_WORKED_BYTES = 6  # a pixel of RGB, and once more where it is made smaller
_COEFFICIENT_BYTES = 2  # a JPEG of several scans is decoded from all coefficients of all components
_TAIL = bytes(range(1, 255)) * 64  # entropy-coded data that no image needs


@dataclass(kw_only=True)
class JpegHeader(Header):
    """A JPEG's segments; `data` ends with an end of the image, which may not be the first."""

    components: tuple[tuple[int, int], ...] = ()  # how often each is sampled: across, down
    num_scans: int = 1
    last_scan: int = 0  # where its data starts
    notes: tuple[tuple[int, int], ...] = ()  # start and end of the segments that no decoder needs

    def decoding_bytes(self, factor: int = 1) -> int:
        pixels = self.size[0] * self.size[1]
        held = _WORKED_BYTES * pixels // factor**2
        if self.num_scans > 1:
            widest = max(h for h, _ in self.components) * max(v for _, v in self.components)
            held += round(_COEFFICIENT_BYTES * pixels * sum(h * v for h, v in self.components) / max(1, widest))
        return held

    def reduction(self, at_least: Size) -> int:
        return reduction(self.size, at_least)

    def without_notes(self) -> bytes:
        """The file with nothing in it but the image."""
        return _without(self.data, self.notes)


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Each segment before the end of the image: its marker, and where it, its content and what follows begin. Raises
    ImageError where they are very many."""
    place, num_bytes = 2, len(data)
    for _ in range(_MAX_SEGMENTS):
        if place + 2 <= num_bytes and data[place] == 0xFF and data[place + 1] in _KNOWN:  # as it is nearly always
            start, place = place, place + 2
        elif (found := _MARKER.search(data, place)) is not None:
            start, place = found.span()
        else:
            return
        marker = data[place - 1]
        if marker == _END:
            return
        if marker in (0x01, 0xD8):  # they have no content
            continue
        content = place + 2
        end = max(content, place + (data[place] << 8 | data[place + 1])) if content <= num_bytes else num_bytes
        yield marker, start, content, end
        place = end
    raise ImageError("image_undecodable", f"a JPEG of more than {_MAX_SEGMENTS} segments")


def read_header(data: bytes, may_hold_junk: bool = True) -> JpegHeader:
    """The JPEG's header. Raises ImageError where it is none, has too many scans, or lacks some. Junk between segments,
    where it may be, is left out of what decoders are given."""
    frame, exif, progressive = b"", b"", False
    notes: list[tuple[int, int]] = []
    junk: list[tuple[int, int]] = []  # between segments, where libjpeg passes over it and complains
    profile: dict[int, bytes] = {}
    scans: list[bytes] = []
    last = 2  # where the segment before ended; at last, where the last scan's data begins
    for marker, start, content, end in _segments(data):
        if marker in _NOTES:
            if not data.startswith(b"JFIF\0", content):  # by it decoders know the colours
                notes.append((start, end))
            if marker == 0xE1 and not exif and data.startswith(b"Exif\0\0", content):
                exif = data[content:end]
            elif marker == 0xE2 and data.startswith(b"ICC_PROFILE\0", content):
                profile.setdefault(int.from_bytes(data[content + 12 : content + 13], "big"), data[content + 13 : end])
        elif marker in _FRAMES and not frame:
            frame, progressive = data[content:end], marker in _PROGRESSIVE
        if not scans:
            if start > last:
                junk.append((last, start))
            last = end
        if marker == _START_OF_SCAN:
            scans.append(data[content:end])
            last = end
            if not progressive and scans[0][:1] == frame[5:6]:
                break  # all components are in this scan: there can be no other
    if junk and scans and may_hold_junk:
        header = read_header(_without(data, junk), may_hold_junk=False)
        header.num_bytes = len(data)
        return header
    if not scans or len(frame) < 9 or len(frame) < 6 + 3 * frame[5]:
        raise ImageError("image_truncated", "a JPEG that ends before its image")
    components = {frame[k]: divmod(frame[k + 1], 16) for k in range(6, 6 + 3 * frame[5], 3)}
    if progressive or len(scans) > 1 or scans[0][:1] != frame[5:6] or not components:
        _check_scans(scans, set(components), progressive)
    return JpegHeader(
        format="JPEG",
        size=(frame[3] << 8 | frame[4], frame[1] << 8 | frame[2]),
        data=data if data.endswith(_END_OF_IMAGE) else data + _END_OF_IMAGE,
        num_bytes=len(data),
        orientation=orientation(exif) if exif else 1,
        profile=_joined(profile) if profile else None,
        components=tuple(components.values()),
        num_scans=len(scans),
        last_scan=last,
        notes=tuple(notes),
    )


def _without(data: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    kept, place = [], 0
    for start, end in spans:
        kept.append(data[place:start])
        place = end
    return b"".join([*kept, data[place:]])


def _joined(parts: dict[int, bytes]) -> bytes | None:
    """A profile of all its parts, each of which begins with their number; None where one is missing."""
    numbers = range(1, (parts.get(1, b"\0")[:1] or b"\0")[0] + 1)
    return b"".join(parts[number][1:] for number in numbers) or None if set(numbers) <= set(parts) else None


def _check_scans(scans: list[bytes], components: set[int], progressive: bool) -> None:
    """Raises ImageError where scans are very many, or some are missing: a component, a frequency, or the last bits of
    one."""
    if len(scans) > _MAX_SCANS or not components:
        raise ImageError("image_undecodable", f"a JPEG of {len(scans)} scans, the limit is {_MAX_SCANS}")
    bits = {component: [1] * 64 for component in components}  # how many are not there yet, at least
    for scan in scans:
        named = scan[1 : 1 + 2 * scan[0] : 2] if scan else b""
        first, last, low = scan[-3:] if progressive and len(scan) >= 4 else (0, 63, 0)
        for component in set(named) & components:
            for frequency in range(first, min(last, 63) + 1):
                bits[component][frequency] = low & 15
    if any(any(left) for left in bits.values()):
        raise ImageError("image_truncated", f"a JPEG whose {len(scans)} scans do not hold the whole image")


def decode_jpeg(header: JpegHeader, factor: int = 1, buffer: U8 | None = None) -> U8 | None:
    """The pixels as stored, at 1/`factor` of the size: uint8 [H, W] of grey, [H, W, 3] of RGB, [H, W, 4] of CMYK;
    in `buffer` where they fit. None where the decoder finds a fault, and Pillow must judge. Raises ImageError where the
    file is truncated.
    """
    try:
        pixels = _decoded(header, header.data, factor, buffer)
    except ValueError as error:
        _check_end(header, str(error))
        return None
    if pixels.shape[2] == 4:  # inks are stored inverted, as browsers read them with and without Adobe's mark
        np.subtract(255, pixels, out=pixels)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def check_whole(header: JpegHeader) -> None:
    """Raises ImageError where the file has no data for its last rows, whatever other decoders make of it."""
    try:
        _decoded(header, header.data, 8)
    except ValueError as error:
        _check_end(header, str(error))


def _decoded(header: JpegHeader, data: bytes, factor: int, buffer: U8 | None = None, strict: bool = True) -> U8:
    """uint8 [H, W, components]. Raises ValueError where the decoder fails, or where it is strict and finds a fault."""
    space = _SPACES.get(len(header.components))
    if space is None:
        raise ValueError(f"a JPEG of {len(header.components)} components")
    width, height = (math.ceil(length / factor) for length in header.size)
    if buffer is not None and buffer.size < width * height * len(header.components):
        buffer = None
    pixels: U8 = simplejpeg.decode_jpeg(
        data, space, min_height=height, min_width=width, min_factor=factor, buffer=buffer, strict=strict
    )
    return pixels


def _check_end(header: JpegHeader, fault: str) -> None:
    """Raises ImageError where a file in which the decoder found that fault has no data for its last rows. Behind
    another fault, it is tried: what is put behind all data changes a pixel only where some were missing."""
    is_whole = "premature end" not in fault.lower()
    if is_whole:
        found = _MARKER.search(header.data, header.last_scan)
        end = found.start() if found else len(header.data)
        longer = header.data[:end] + _TAIL + header.data[end:]
        try:
            first, second = (_decoded(header, data, 8, strict=False) for data in (header.data, longer))
        except ValueError:  # it cannot read the file at all
            return
        is_whole = np.array_equal(first, second)
    if not is_whole:
        raise ImageError("image_truncated", "a JPEG that ends before its last row")
