"""What a picture is known by: a perceptual hash of 64 bits, one of 256, and a coarse grid of colours.

Both hashes are signs of low frequencies of the grey picture's cosine transform (DCT), so that scale, compression and
a change of brightness or contrast hardly touch them. A sign says little where the coefficient is next to nothing (half
of them in a symmetric drawing), so each hash comes with a mask of its firm bits, and two pictures are compared by
the firm bits of one of them. Hashes see no colour; the grid does.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openwit.errors import InputError

GRAY_PX = 32  # side of the grey picture that is transformed, as in pHash
COLOR_CELLS = 4  # side of the grid of colours
FIRM = 0.2  # of the picture's root-mean-square coefficient: how far from the median a firm coefficient is
SHOWN_PX = 128  # longer side of a picture in the report

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Thumbnail:
    """All of a picture that its fingerprint needs: gray (32, 32) float32, and colors (4, 4, 2) uint8: Cr and Cb."""

    gray: F32
    colors: U8


@dataclass(frozen=True)
class Fingerprints:
    """N pictures: hash64 (N, 1) and hash256 (N, 4) uint64 with masks firm64 and firm256 alike, colors (N, 32) uint8,
    contrast (N,) float32, the standard deviation of the grey picture in levels of 255."""

    hash64: U64
    firm64: U64
    hash256: U64
    firm256: U64
    colors: U8
    contrast: F32

    def __len__(self) -> int:
        return len(self.contrast)

    @classmethod
    def of(cls, thumbnails: Sequence[Thumbnail]) -> Fingerprints:
        """The fingerprints of N pictures."""
        gray = np.array([entry.gray for entry in thumbnails], np.float32).reshape(-1, GRAY_PX, GRAY_PX)
        colors = np.array([entry.colors for entry in thumbnails], np.uint8).reshape(len(gray), 2 * COLOR_CELLS**2)
        contrast = gray.std(axis=(1, 2))
        spectrum: F32 = np.matmul(_cosines() @ gray, _cosines().T, dtype=np.float32)
        hash64, firm64 = _signs(spectrum[:, :8, :8], contrast)
        hash256, firm256 = _signs(spectrum[:, :16, :16], contrast)
        return cls(hash64, firm64, hash256, firm256, colors, contrast)


def distance(a: U64, b: U64, firm: U64) -> F32:
    """The share of the firm bits in which two hashes differ, over the last axis; shapes broadcast. 1 where none is."""
    differing = np.bitwise_count((a ^ b) & firm).sum(-1, dtype=np.int32)
    bits = np.bitwise_count(firm).sum(-1, dtype=np.int32)
    return np.where(bits > 0, differing / np.maximum(bits, 1), 1).astype(np.float32)


def decode(data: bytes) -> U8:
    """The picture as (height, width, 3) blue, green, red; JPEG at half its size, which costs a quarter; what is
    transparent shows white. Raises InputError where it cannot be decoded."""
    jpeg = data[:3] == b"\xff\xd8\xff"
    try:
        buffer = np.frombuffer(data, np.uint8)
        picture = cv2.imdecode(buffer, cv2.IMREAD_REDUCED_COLOR_2 if jpeg else cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise InputError(f"{len(data)} bytes cannot be decoded as a picture")
    return np.asarray(picture, np.uint8) if jpeg else _over_white(picture)


def thumbnail(picture: U8) -> Thumbnail:
    """The decoded picture made small, its shape ignored."""
    small = cv2.resize(picture, (GRAY_PX, GRAY_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    levels = cv2.cvtColor(small, cv2.COLOR_BGR2YCrCb)
    grid = cv2.resize(levels[..., 1:], (COLOR_CELLS, COLOR_CELLS), interpolation=cv2.INTER_AREA)
    centred = np.clip(np.rint(grid + 127.5), 0, 255)  # of floats, OpenCV centres Cr and Cb on 0.5, not on 128
    return Thumbnail(np.ascontiguousarray(levels[..., 0], np.float32), centred.astype(np.uint8))


def shown(picture: U8) -> bytes:
    """A JPEG of the decoded picture for the report, at most 128 px a side."""
    scale = min(1.0, SHOWN_PX / max(picture.shape[:2]))
    size = [max(1, round(side * scale)) for side in (picture.shape[1], picture.shape[0])]
    return cv2.imencode(".jpg", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))[1].tobytes()


def _over_white(picture: npt.NDArray[Any]) -> U8:
    if picture.dtype != np.uint8:
        top = np.iinfo(picture.dtype).max if np.issubdtype(picture.dtype, np.integer) else 1.0
        picture = cv2.convertScaleAbs(picture, alpha=255.0 / top)
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
    if picture.shape[2] == 3:
        return np.asarray(picture, np.uint8)
    alpha = picture[..., -1:].astype(np.float32) / 255
    mixed: U8 = (picture[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    return mixed


@functools.cache
def _cosines() -> F32:
    """(32, 32): row k is the k-th wave of the DCT-II."""
    k, x = np.mgrid[:GRAY_PX, :GRAY_PX]
    waves: F32 = np.cos(np.pi * k * (2 * x + 1) / (2 * GRAY_PX)).astype(np.float32)
    return waves


def _signs(block: F32, contrast: F32) -> tuple[U64, U64]:
    """Bits and firm bits (N, side * side / 64) of coefficients (N, side, side), which are compared with the median
    of their picture. With these waves the root-mean-square coefficient is contrast * 32 / 2."""
    flat = block.reshape(len(block), block.shape[1] * block.shape[2])
    above = flat - np.median(flat, axis=1, keepdims=True)
    firm = np.abs(above) >= (FIRM * GRAY_PX / 2) * contrast[:, None]
    return _words(above > 0), _words(firm)


def _words(bits: npt.NDArray[np.bool_]) -> U64:
    return np.packbits(bits, axis=1).view(np.uint64)
