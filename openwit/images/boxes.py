"""WebP and AVIF: files of boxes, each with its length before it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import AvifImagePlugin, Image

from openwit.errors import ImageError
from openwit.images.exif import orientation
from openwit.images.header import CONVERTED_BYTES, Header, Size

_WEBP_BYTES, _AVIF_BYTES = 18, 14  # a pixel: buffers of the decoder's own, copied twice
_PIXELS = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_NOTES_FLAGS, _ALPHA_FLAG = 0x2C, 0x10  # of VP8X: profile, EXIF, XMP; transparency
_MAX_BOXES = 20_000
_MAX_SAMPLES = 100_000  # of a sequence, whose first image is decoded
_MAX_DEPTH = 8
_MAX_CONTENT = 128  # bytes of a box that are looked at; a track's header has 104
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each holds frames of its own
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0}


@dataclass(kw_only=True)
class AvifHeader(Header):
    """An AVIF whose boxes Pillow has read, for they alone say which of its sizes is the image's."""

    opened: Image.Image


def read_webp(data: bytes) -> Header:
    """The WebP's header; its file holds the first frame alone. Raises ImageError where it has none."""
    end = int.from_bytes(data[4:8], "little") + 8
    place, kept, notes = 12, list[bytes](), dict[bytes, bytes]()
    canvas: Size = (0, 0)
    flags, has_frame, is_animated, num_boxes = 0, False, False, 0
    while place + 8 <= min(end, len(data)):
        num_boxes += 1
        if num_boxes > _MAX_BOXES:
            break
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        box = data[place : place + 8 + length + length % 2]
        place += len(box)
        if name == b"VP8X" and not kept:
            flags = box[8] if len(box) > 8 else 0
            canvas = _size24(box[12:18])
            kept.append(box[:8] + bytes([flags & ~_NOTES_FLAGS & 0xFF]) + box[9:])
        elif name in _PIXELS and not has_frame:
            has_frame, is_animated = name in (b"VP8 ", b"VP8L", b"ANMF"), is_animated or name[:2] == b"AN"
            if name in (b"VP8 ", b"VP8L"):
                across, down = _frame_size(name, box[8:18])
                canvas = max(canvas[0], across), max(canvas[1], down)
                flags |= _ALPHA_FLAG if name == b"VP8L" and len(box) > 12 and box[12] & 0x10 else 0
            kept.append(box)
        elif name in (b"EXIF", b"ICCP"):
            notes.setdefault(name, box[8 : 8 + length])
    if not has_frame:
        raise ImageError("image_truncated" if end > len(data) else "image_undecodable", "a WebP without a frame")
    body = b"".join(kept)
    return Header(
        format="WEBP",
        num_bytes=len(data),
        size=canvas,
        data=b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body,
        orientation=orientation(notes.get(b"EXIF", b"")),
        profile=notes.get(b"ICCP"),
        pixel_bytes=_WEBP_BYTES + 2 * CONVERTED_BYTES * bool(flags & _ALPHA_FLAG),
        is_plain=not flags & _ALPHA_FLAG and not is_animated,
        ends_early=end > len(data),
    )


def _size24(six: bytes) -> Size:
    return int.from_bytes(six[:3], "little") + 1, int.from_bytes(six[3:6], "little") + 1


def _frame_size(name: bytes, start: bytes) -> Size:
    """Of the bitstream's own header."""
    if name == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(start[6:8], "little") & 0x3FFF, int.from_bytes(start[8:10], "little") & 0x3FFF


def read_avif(data: bytes) -> Header:
    """The AVIF's header before it is opened: the largest of the sizes that it names. Raises ImageError where it names
    none, or very many images."""
    largest: Size = (0, 0)
    has_alpha = False
    for number, (name, content) in enumerate(_boxes(data, 0, len(data), 0)):
        if number > _MAX_BOXES:
            raise ImageError("image_undecodable", f"an AVIF of more than {_MAX_BOXES} boxes")
        if name == b"ispe":
            size = int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big")
            largest = max(largest, size, key=lambda found: found[0] * found[1])
        elif name == b"stsz" and int.from_bytes(content[8:12], "big") > _MAX_SAMPLES:
            raise ImageError("image_undecodable", f"an AVIF of more than {_MAX_SAMPLES} images")
        elif name == b"tkhd":
            size = int.from_bytes(content[-8:-6], "big"), int.from_bytes(content[-4:-2], "big")
            largest = max(largest, size, key=lambda found: found[0] * found[1])
        has_alpha = has_alpha or (name == b"auxC" and b"alpha" in content) or (name == b"hdlr" and b"auxv" in content)
    early = _ends_early(data)
    if largest == (0, 0):
        raise ImageError("image_truncated" if early else "image_undecodable", "an AVIF without a size")
    per_pixel = _AVIF_BYTES + 2 * CONVERTED_BYTES * has_alpha
    return Header(format="AVIF", num_bytes=len(data), size=largest, data=data, pixel_bytes=per_pixel, ends_early=early)


def open_avif(header: Header) -> AvifHeader:
    """The AVIF with the size, orientation and profile that its decoder finds. Raises ImageError."""
    try:
        opened = Image.open(io.BytesIO(header.data), formats=["AVIF"])
    except Exception as error:
        word = "truncated" if header.ends_early else "undecodable"
        raise ImageError(f"image_{word}", f"an AVIF that cannot be read ({type(error).__name__})") from None
    if opened.width * opened.height > header.size[0] * header.size[1]:
        raise ImageError("image_undecodable", "an AVIF larger than its boxes say")
    return AvifHeader(
        format="AVIF",
        num_bytes=header.num_bytes,
        size=opened.size,
        data=header.data,
        orientation=orientation(opened.info.get("exif", b"")),
        profile=opened.info.get("icc_profile"),
        pixel_bytes=header.pixel_bytes,
        held_pixels=header.size[0] * header.size[1],
        ends_early=header.ends_early,
        opened=opened,
    )


def _boxes(data: bytes, place: int, end: int, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents (their first bytes) of all boxes but the images' data."""
    while place + 8 <= end:
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        start = place + 8
        if length == 1:
            length, start = int.from_bytes(data[start : start + 8], "big"), start + 8
        stop = end if length == 0 else min(end, place + length)
        if stop < start:
            return
        if name in _CONTAINERS and depth < _MAX_DEPTH:
            yield from _boxes(data, start + _CONTAINERS[name], stop, depth + 1)
        else:
            yield name, data[start : min(stop, start + _MAX_CONTENT)]
        place = stop


def _ends_early(data: bytes) -> bool:
    """Whether the file is shorter than its boxes say."""
    place = 0
    while 0 <= place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:  # up to the end of the file, or a longer number: rare, and no sign of anything
            return False
        place += size
    return place > len(data)
