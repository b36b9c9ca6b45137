"""Encoded bytes → upright 8-bit sRGB over white, the first frame: what a browser shows, for everyone who decodes.

A file's header is read first, by ourselves; limits are checked by it; and the decoder is given the file without all
that holds no pixels. JPEGs are decoded by libjpeg-turbo, opaque PNGs and WebPs by OpenCV, all else by Pillow, which is
the plain twin of them all.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from openwit.errors import ImageError
from openwit.images import bitmaps, jpeg, png
from openwit.images.bitmaps import BmpHeader
from openwit.images.boxes import AvifHeader
from openwit.images.color import resizable, to_srgb, transform_to_srgb
from openwit.images.exif import turn_upright
from openwit.images.gif import GifHeader
from openwit.images.header import U8, DecodingLimits, Header
from openwit.images.jpeg import JpegHeader
from openwit.images.png import PngHeader
from openwit.images.reading import LIMITS, DecoderErrors, read_header
from openwit.images.tiff import TiffHeader

_MAX_QUICK_PIXELS = 2_600_000  # of what OpenCV decodes; of larger images Pillow holds less in all
_MODES = {2: "L", 3: "RGB", 4: "CMYK"}


def decode(data: bytes | memoryview, limits: DecodingLimits = LIMITS) -> U8:
    """uint8 [H, W, 3]: the image as a browser shows it on white. Raises ImageError where it cannot or must not be
    decoded."""
    header = read_header(data, limits)
    limits.check(header)
    return finish(load(header), header)


def decode_reduced(data: bytes | memoryview, least_px: int, limits: DecodingLimits = LIMITS) -> U8:
    """`decode` for those who will make it smaller: a JPEG comes at 1/8, 1/4 or 1/2 of its size, which costs less, where
    its shorter side keeps `least_px`. Raises ImageError."""
    header = read_header(data, limits)
    factor = header.reduction((least_px, least_px))
    limits.check(header, factor)
    return finish(load(header, factor), header)


def load(header: Header, factor: int = 1, buffer: U8 | None = None) -> Image.Image | U8:
    """The pixels as stored, nothing converted: of most JPEGs and opaque PNGs and WebPs an array, as in `decode_jpeg`;
    else an image in a mode of `resizable`. Raises ImageError."""
    with DecoderErrors(header.num_bytes, header.ends_early):
        if isinstance(header, JpegHeader):
            pixels = jpeg.decode_jpeg(header, factor, buffer)
            if pixels is not None:
                return pixels
        elif header.is_plain and header.size[0] * header.size[1] <= _MAX_QUICK_PIXELS:
            pixels = _decoded_by_opencv(header)
            if pixels is not None:
                return pixels
        return _load_plain(header, factor)


def load_plain(header: Header, factor: int = 1) -> Image.Image:
    """The plain twin of `load`: by Pillow. Raises ImageError."""
    with DecoderErrors(header.num_bytes, header.ends_early):
        if isinstance(header, JpegHeader):
            jpeg.check_whole(header)
        return _load_plain(header, factor)


def finish(pixels: Image.Image | U8, header: Header) -> U8:
    """uint8 [H, W, 3], upright sRGB over white, of what was loaded, or of what it was resized to. Raises ImageError."""
    with DecoderErrors(header.num_bytes):
        if isinstance(pixels, np.ndarray):
            mode = _MODES[pixels.shape[2] if pixels.ndim == 3 else 2]
            if mode == "CMYK" or transform_to_srgb(header.profile, mode) is not None:
                pixels = to_srgb(as_image(pixels), header.profile)
            elif pixels.ndim == 2:
                pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)
        else:
            pixels = to_srgb(pixels, header.profile)
        rgb = pixels if isinstance(pixels, np.ndarray) else np.array(pixels)
        return turn_upright(rgb, header.orientation)


def as_image(pixels: U8) -> Image.Image:
    """What `decode_jpeg` gives as an image: L, RGB or CMYK."""
    mode = _MODES[pixels.shape[2] if pixels.ndim == 3 else 2]
    return Image.frombuffer(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels), "raw", mode, 0, 1)


def _decoded_by_opencv(header: Header) -> U8 | None:
    """uint8 [H, W, 3], RGB, in half the time that Pillow takes; None where Pillow must judge."""
    try:
        found = cv2.imdecode(np.frombuffer(header.data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if found is None or found.shape != (header.size[1], header.size[0], 3) or found.dtype != np.uint8:
        return None
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB, dst=found).astype(np.uint8, copy=False)


def _load_plain(header: Header, factor: int) -> Image.Image:
    if isinstance(header, PngHeader) and header.is_deep:
        return _of_deep(png.decode_deep(header), header.is_grey)
    if isinstance(header, AvifHeader):
        source = header.opened
    else:
        source = Image.open(io.BytesIO(_decoder_data(header)), formats=[header.format])
        if source.size != (header.frame if isinstance(header, GifHeader) else header.size):
            raise ImageError("image_undecodable", f"a {header.format} that is {source.width}x{source.height} elsewhere")
    if factor > 1:
        source.draft(None, tuple(length // factor for length in header.size))  # type: ignore[arg-type]
    source.load()
    image = resizable(source)
    if isinstance(header, GifHeader) and header.frame != header.size:
        canvas = Image.new("RGBA", header.size, (0, 0, 0, 0))
        canvas.paste(image, header.place)
        return canvas
    if isinstance(header, TiffHeader) and header.is_deep_negative:
        return Image.fromarray(255 - np.asarray(image))
    return image


def _decoder_data(header: Header) -> bytes:
    if isinstance(header, JpegHeader):
        return header.without_notes()
    if isinstance(header, BmpHeader) and header.run_bits:
        return bitmaps.unpacked(header)
    return header.data


def _of_deep(pixels: U8, is_grey: bool) -> Image.Image:
    image = Image.fromarray(pixels)
    return image.convert("LA") if is_grey and image.mode == "RGBA" else image
