"""ICC profiles written by hand, and what their colours are in sRGB, worked out without a colour library."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.float64]

WIDE_GAMMA, GREY_GAMMA = 2.0, 1.0
D50 = (0.9642, 1.0, 0.8249)
WIDE_PRIMARIES = np.array(  # XYZ of red, green, blue under D50 in columns: Display P3's
    [(0.51512, 0.29198, 0.15710), (0.24120, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407)]
)
SRGB_PRIMARIES = np.array([(0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410)])


def wide_profile(gamma: float) -> bytes:
    """A screen with the primaries of Display P3 and that gamma."""
    columns = {f"{name}XYZ".encode(): _xyz(tuple(WIDE_PRIMARIES[:, i].tolist())) for i, name in enumerate("rgb")}
    curves = {f"{name}TRC".encode(): _curve(gamma) for name in "rgb"}
    return _profile(b"RGB ", {**columns, **curves})


def grey_profile(gamma: float) -> bytes:
    """Grey of that gamma."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)})


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


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": _text(), b"cprt": _text(), b"wtpt": _xyz(D50), **tags}
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = place + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"none", 0x04300000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s4s", 2024, 1, 1, 0, 0, 0, b"acsp", b"none") + bytes(24)
    header += b"".join(map(_fixed, D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def _text() -> bytes:
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 8, 28) + "made".encode("utf-16-be")
