"""ICC profiles written by hand, and what their colours are in sRGB, worked out without a colour library."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.float64]

WIDE_GAMMA, GREY_GAMMA = 2.0, 1.0
D50 = (0.9642, 1.0, 0.8249)
WIDE_PRIMARIES = np.array(  # XYZ of red, green, blue under D50 in columns: Display P3's
    [(0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407)]
)
SRGB_PRIMARIES = np.array([(0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410)])


def wide_profile(gamma: float, description: str = "made") -> bytes:
    """A screen with the primaries of Display P3 and that gamma."""
    columns = {f"{name}XYZ".encode(): _xyz(tuple(WIDE_PRIMARIES[:, i].tolist())) for i, name in enumerate("rgb")}
    curves = {f"{name}TRC".encode(): _curve(gamma) for name in "rgb"}
    return _profile(b"RGB ", {**columns, **curves, b"desc": _text(description)})


def grey_profile(gamma: float) -> bytes:
    """Grey of that gamma."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


def ink_profile() -> bytes:
    """A press of four inks, as a table of 8 bits (ICC.1, lut8Type) from the 16 corners of all-or-nothing to Lab."""
    ramp = bytes(range(256))
    identity = b"".join(_fixed(float(i % 4 == 0)) for i in range(9))
    corners = np.array([[n >> 3 & 1, n >> 2 & 1, n >> 1 & 1, n & 1] for n in range(16)])
    table = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + _stored_lab(corners).tobytes() + ramp * 3
    return _profile(b"CMYK", {b"A2B0": table}, b"prtr", b"Lab ")


def inks_to_srgb(inks: npt.NDArray[np.uint8]) -> Levels:
    """Levels of 255 [..., 3] of inks [..., 4] that are 0 or 255 each."""
    lightness, a, b = np.moveaxis(_stored_lab(inks // 255).astype(float), -1, 0)
    fy = (lightness / 2.55 + 16) / 116
    f = np.stack([fy + (a - 128) / 500, fy, fy - (b - 128) / 200], -1)
    xyz = np.array(D50) * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    return srgb_levels(xyz @ np.linalg.inv(SRGB_PRIMARIES).T)


def _stored_lab(inks: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
    """L from 0 to 255, a and b with 128 for none, of inks that are 0 or 1: weaker ones than sRGB's cyan and magenta."""
    c, m, y, k = np.moveaxis(inks.astype(float), -1, 0)
    lightness = 255 * (1 - 0.4 * c) * (1 - 0.45 * m) * (1 - 0.08 * y)
    a, b = -22 * c + 50 * m - 4 * y, -32 * c - 4 * m + 60 * y
    lab = np.stack([lightness * (1 - k), 128 + a * (1 - k), 128 + b * (1 - k)], -1)
    stored: npt.NDArray[np.uint8] = np.rint(lab).astype(np.uint8)
    return stored


def wide_to_srgb(colours: npt.NDArray[np.uint8]) -> Levels:
    """Levels of 255 [..., 3] of the wide profile as those of sRGB; what it cannot show is cut off."""
    linear = (colours / 255.0) ** WIDE_GAMMA
    return srgb_levels(linear @ (np.linalg.inv(SRGB_PRIMARIES) @ WIDE_PRIMARIES).T)


def grey_to_srgb(greys: npt.NDArray[np.uint8]) -> Levels:
    """Levels of 255 of the grey profile as those of sRGB."""
    return srgb_levels((greys / 255.0) ** GREY_GAMMA)


def srgb_levels(linear: Levels) -> Levels:
    """Light from 0 to 1 as levels of 255 (IEC 61966-2-1)."""
    light = linear.clip(0, 1)
    levels: Levels = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return levels


def _profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", between: bytes = b"XYZ ") -> bytes:
    tags = {b"desc": _text(), b"cprt": _text(), b"wtpt": _xyz(D50), **tags}
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = place + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x04300000, kind, space, between)
    header += struct.pack(">6H4s4s", 2024, 1, 1, 0, 0, 0, b"acsp", b"none") + bytes(24)
    header += b"".join(map(_fixed, D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _text(text: str = "made") -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data
