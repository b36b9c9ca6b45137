"""Images of every odd kind, each with the colours that a viewer shows: upright, sRGB, over white, the first frame.

An image is 64 px wide and 48 high when upright, in four quadrants of one colour each.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms

from helpers.icc_profiles import (
    GREY_GAMMA,
    WIDE_GAMMA,
    grey_profile,
    grey_to_srgb,
    ink_profile,
    inks_to_srgb,
    wide_profile,
    wide_to_srgb,
)

U8 = npt.NDArray[np.uint8]
Colours = npt.NDArray[np.float64]  # [2, 2, 3]: of the quadrants, levels of 255

WIDTH, HEIGHT = 64, 48
FOUR = np.array([[(200, 30, 40), (20, 180, 60)], [(40, 60, 210), (230, 220, 30)]], np.uint8)
OTHER = np.full((2, 2, 3), 128, np.uint8)
GREYS = np.array([[10, 100], [180, 250]], np.uint8)
ALPHAS = np.array([[255, 0], [128, 64]], np.uint8)
DEEP = np.array([[(200, 200, 200), (65535, 0, 30000)], [(1000, 40000, 257), (50, 129, 60000)]], np.uint16)
INKS = np.array([[(0, 200, 180, 20), (220, 0, 200, 40)], [(200, 180, 0, 0), (0, 0, 230, 10)]], np.uint8)
FULL_INKS = np.array([[(255, 0, 0, 0), (0, 255, 255, 0)], [(0, 0, 0, 0), (0, 0, 255, 0)]], np.uint8)
INDEX = np.array([[0, 1], [2, 3]], np.uint8)
JPEG_LEVELS = 4.0  # that a JPEG of flat colours may be off
ICC_LEVELS = 3.0  # that conversions of profiles differ in rounding
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG's colour types


@dataclass(frozen=True)
class OddImage:
    """An encoded image, and what a viewer shows of it."""

    name: str
    data: bytes
    colours: Colours
    tolerance: float = 1.0  # levels of 255
    height: int = HEIGHT  # shown
    width: int = WIDTH


def quadrants(colours: npt.NDArray[Any], height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[Any]:
    """[H, W, …] from [2, 2, …]."""
    return colours.repeat(height // 2, 0).repeat(width // 2, 1)


def odd_images() -> list[OddImage]:
    """All of them, by unlike names."""
    return [*_turned(), *_transparent(), *_deep(), *_inks(), *_profiled(), *_frames(), *_plain()]


def turned(upright: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """The pixels as they are stored so that EXIF's orientation turns them upright."""
    return {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.swapaxes(0, 1), 2),
        8: np.rot90(upright, -1),
    }[orientation]


def png(pixels: npt.NDArray[Any], kind: int, *chunks: tuple[bytes, bytes], bits: int = 8) -> bytes:
    """A PNG of [H, W] or [H, W, C] with further chunks before its pixels; APNG's chunks of frames are the caller's."""
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", scanlines(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, parts))


def scanlines(pixels: npt.NDArray[Any]) -> bytes:
    """PNG's compressed rows, none of them filtered."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


def chunk(part: tuple[bytes, bytes]) -> bytes:
    """A PNG's chunk of that name and content."""
    name, content = part
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def saved(pixels: npt.NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    """The pixels as Pillow writes them."""
    image = Image.fromarray(pixels) if mode is None else Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def over_white(colours: npt.NDArray[Any], alphas: npt.NDArray[Any]) -> Colours:
    share = (alphas / 255)[..., None]
    mixed: Colours = colours * share + 255 * (1 - share)
    return mixed


def as_rgb(greys: npt.NDArray[Any]) -> Colours:
    return np.repeat(greys[..., None], 3, -1).astype(np.float64)


def _turned() -> Iterator[OddImage]:
    upright = quadrants(FOUR)
    for orientation in range(1, 9):
        pixels = np.ascontiguousarray(turned(upright, orientation))
        exif = Image.Exif()
        exif[0x0112] = orientation
        note = exif.tobytes()
        tiff = saved(pixels, "TIFF", tiffinfo={0x0112: orientation})
        jpeg = saved(pixels, "JPEG", quality=95, subsampling=0, exif=note)
        plain = png(pixels, RGB, (b"eXIf", note.removeprefix(b"Exif\0\0")))
        webp = saved(pixels, "WEBP", lossless=True, exif=note)
        yield OddImage(f"jpeg_turned_{orientation}", jpeg, FOUR.astype(float), JPEG_LEVELS)
        yield OddImage(f"png_turned_{orientation}", plain, FOUR.astype(float))
        yield OddImage(f"webp_turned_{orientation}", webp, FOUR.astype(float))
        yield OddImage(f"tiff_turned_{orientation}", tiff, FOUR.astype(float))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    xmp += b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    only_xmp = saved(upright, "JPEG", quality=95, subsampling=0, xmp=xmp)  # browsers read EXIF alone
    yield OddImage("jpeg_xmp_orientation", only_xmp, FOUR.astype(float), JPEG_LEVELS)


def _transparent() -> Iterator[OddImage]:
    key_grey, key_rgb = (b"tRNS", struct.pack(">H", 100)), (b"tRNS", struct.pack(">HHH", *FOUR[0, 1].tolist()))
    palette = (b"PLTE", FOUR.tobytes())
    white = np.array([[255, 0], [255, 255]], np.uint8)  # alphas of one transparent quadrant
    yield OddImage("png_grey_trns", png(quadrants(GREYS), GREY, key_grey), over_white(as_rgb(GREYS), white))
    yield OddImage("png_rgb_trns", png(quadrants(FOUR), RGB, key_rgb), over_white(FOUR, white))
    data = png(quadrants(INDEX), PALETTE, palette, (b"tRNS", ALPHAS.tobytes()))
    yield OddImage("png_palette_trns", data, over_white(FOUR, ALPHAS))
    data = png(quadrants(INDEX), PALETTE, palette, (b"tRNS", b"\xff\0"))
    yield OddImage("png_palette_one_transparent", data, over_white(FOUR, white))
    grey_alpha = np.stack([GREYS, ALPHAS], -1)
    yield OddImage("png_grey_alpha", png(quadrants(grey_alpha), GREY_ALPHA), over_white(as_rgb(GREYS), ALPHAS))
    layer = np.concatenate([FOUR, ALPHAS[..., None]], -1)
    yield OddImage("png_rgba", png(quadrants(layer), RGBA), over_white(FOUR, ALPHAS))
    webp = saved(quadrants(layer), "WEBP", lossless=True, exact=True)
    yield OddImage("webp_rgba", webp, over_white(FOUR, ALPHAS))
    yield OddImage("tiff_rgba", saved(quadrants(layer), "TIFF"), over_white(FOUR, ALPHAS))
    pillow = Image.fromarray(quadrants(INDEX))
    pillow.putpalette(FOUR.tobytes())
    buffer = io.BytesIO()
    pillow.save(buffer, "GIF", transparency=1)
    yield OddImage("gif_transparent", buffer.getvalue(), over_white(FOUR, white))


def _deep() -> Iterator[OddImage]:
    """16 bits are scaled to 8 as PNG's specification says (section 13.12): v * 255 / 65535, rounded; 200 becomes 1."""
    grey = DEEP[..., 1].copy()
    grey[0, 0] = 200
    eight, eight_grey = np.rint(DEEP / 257), as_rgb(np.rint(grey / 257))
    yield OddImage("png_grey16", png(quadrants(grey), GREY, bits=16), eight_grey, 0.0)
    yield OddImage("tiff_grey16", saved(quadrants(grey), "TIFF"), eight_grey, 0.0)
    yield OddImage("png_rgb16", png(quadrants(DEEP), RGB, bits=16), eight, 0.0)
    opaque = np.array([[255, 0], [255, 255]], np.uint8)
    alpha = opaque.astype(np.uint16) * 257
    grey_key = (b"tRNS", struct.pack(">H", int(grey[0, 1])))
    data = png(quadrants(grey), GREY, grey_key, bits=16)
    yield OddImage("png_grey16_trns", data, over_white(eight_grey, opaque), 0.0)
    rgb_key = (b"tRNS", struct.pack(">HHH", *DEEP[0, 1].tolist()))
    yield OddImage("png_rgb16_trns", png(quadrants(DEEP), RGB, rgb_key, bits=16), over_white(eight, opaque), 0.0)
    layer = np.concatenate([DEEP, alpha[..., None]], -1)
    yield OddImage("png_rgba16", png(quadrants(layer), RGBA, bits=16), over_white(eight, opaque), 0.0)
    layer = np.stack([grey, alpha], -1)
    data = png(quadrants(layer), GREY_ALPHA, bits=16)
    yield OddImage("png_grey_alpha16", data, over_white(eight_grey, opaque), 0.0)


def _inks() -> Iterator[OddImage]:
    """CMYK without a profile, stored inverted as Adobe does: each ink takes its share of what black leaves."""
    inks = INKS / 255
    shown = 255 * (1 - inks[..., :3]) * (1 - inks[..., 3:])
    cmyk = saved(quadrants(INKS), "JPEG", "CMYK", quality=95, subsampling=0)
    yield OddImage("jpeg_cmyk", cmyk, shown, JPEG_LEVELS)
    inverted = np.ascontiguousarray(255 - quadrants(INKS))
    ycck = simplejpeg.encode_jpeg(inverted, 95, "CMYK", "444")
    yield OddImage("jpeg_ycck", ycck, shown, JPEG_LEVELS)
    yield OddImage("tiff_cmyk", saved(quadrants(INKS), "TIFF", "CMYK"), shown)


def _profiled() -> Iterator[OddImage]:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide, grey = wide_profile(WIDE_GAMMA), grey_profile(GREY_GAMMA)
    pixels, greys = quadrants(FOUR), quadrants(GREYS)
    shown, shown_grey = wide_to_srgb(FOUR), as_rgb(grey_to_srgb(GREYS))
    png_profile = (b"iCCP", b"made\0\0" + zlib.compress(wide))
    png_grey = (b"iCCP", b"made\0\0" + zlib.compress(grey))
    jpeg: dict[str, Any] = {"quality": 95, "subsampling": 0}
    yield OddImage("png_srgb_profile", saved(pixels, "PNG", icc_profile=srgb), FOUR.astype(float))
    yield OddImage("jpeg_srgb_profile", saved(pixels, "JPEG", icc_profile=srgb, **jpeg), FOUR.astype(float), 4.0)
    yield OddImage("png_wide_profile", png(pixels, RGB, png_profile), shown, ICC_LEVELS)
    yield OddImage("jpeg_wide_profile", saved(pixels, "JPEG", icc_profile=wide, **jpeg), shown, 2 * JPEG_LEVELS)
    yield OddImage("webp_wide_profile", saved(pixels, "WEBP", lossless=True, icc_profile=wide), shown, ICC_LEVELS)
    yield OddImage("tiff_wide_profile", saved(pixels, "TIFF", icc_profile=wide), shown, ICC_LEVELS)
    press, shown_inks = ink_profile(), inks_to_srgb(FULL_INKS)
    tiff = saved(quadrants(FULL_INKS), "TIFF", "CMYK", icc_profile=press)
    yield OddImage("tiff_cmyk_profile", tiff, shown_inks, ICC_LEVELS)
    inked = saved(quadrants(FULL_INKS), "JPEG", "CMYK", icc_profile=press, **jpeg)
    yield OddImage("jpeg_cmyk_profile", inked, shown_inks, 2 * JPEG_LEVELS)
    layer = np.concatenate([FOUR, np.full((2, 2, 1), 255, np.uint8)], -1)
    yield OddImage("png_rgba_wide_profile", png(quadrants(layer), RGBA, png_profile), shown, ICC_LEVELS)
    yield OddImage("png_grey_profile", png(greys, GREY, png_grey), shown_grey, ICC_LEVELS)
    yield OddImage("jpeg_grey_profile", saved(greys, "JPEG", icc_profile=grey, **jpeg), shown_grey, 2 * JPEG_LEVELS)


def _frames() -> Iterator[OddImage]:
    first, second = Image.fromarray(quadrants(FOUR)), Image.fromarray(quadrants(OTHER))
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        buffer = io.BytesIO()
        first.save(buffer, kind, save_all=True, append_images=[second], duration=100, **options)
        yield OddImage(f"{kind.lower()}_animated", buffer.getvalue(), FOUR.astype(float))


def _plain() -> Iterator[OddImage]:
    bits = np.array([[255, 0], [0, 255]], np.uint8)
    packed = np.packbits(quadrants(bits) > 0, axis=1)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 1, GREY, 0, 0, 0)
    parts: Sequence[tuple[bytes, bytes]] = ((b"IHDR", header), (b"IDAT", scanlines(packed)), (b"IEND", b""))
    one_bit = b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, parts))
    yield OddImage("png_one_bit", one_bit, as_rgb(bits))
    buffer = io.BytesIO()
    Image.fromarray(quadrants(bits)).convert("1").save(buffer, "TIFF")
    yield OddImage("tiff_one_bit", buffer.getvalue(), as_rgb(bits))
    grey = saved(quadrants(GREYS), "JPEG", quality=95)
    yield OddImage("jpeg_grey", grey, as_rgb(GREYS), JPEG_LEVELS)
    progressive = saved(quadrants(FOUR), "JPEG", quality=95, subsampling=0, progressive=True)
    yield OddImage("jpeg_progressive", progressive, FOUR.astype(float), JPEG_LEVELS)
    yield OddImage("bmp", saved(quadrants(FOUR), "BMP"), FOUR.astype(float))
