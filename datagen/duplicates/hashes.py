"""What a picture is known by: a perceptual hash of 64 bits, one of 256, and a coarse grid of colours.

Both hashes are signs of low frequencies of the grey picture's cosine transform (DCT), so that scale, compression and
a change of brightness or contrast hardly touch them; the short one survives a small crop, the long one tells apart
what only looks alike from afar. Neither sees colour, which the grid does.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from openwit.errors import InputError

GRAY_PX = 32  # side of the grey picture that is transformed, as in pHash
COLOR_CELLS = 4  # side of the grid of colours
HASH64_WORDS, HASH256_WORDS = 1, 4  # of 64 bits

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fingerprints:
    """N pictures: hash64 (N,) uint64, hash256 (N, 4) uint64, colors (N, 4, 4, 2) uint8 (Cr, Cb), contrast (N,)
    float32, the standard deviation of the grey picture's 0…255 levels."""

    hash64: U64
    hash256: U64
    colors: U8
    contrast: F32

    def __len__(self) -> int:
        return len(self.hash64)

    @classmethod
    def of(cls, thumbnails: list[Thumbnail]) -> Fingerprints:
        """The fingerprints of N pictures."""
        gray = np.array([thumbnail.gray for thumbnail in thumbnails], np.float32).reshape(-1, GRAY_PX, GRAY_PX)
        colors = np.array([thumbnail.colors for thumbnail in thumbnails], np.uint8)
        spectrum = _dct(gray)
        return cls(
            hash64=_signs(spectrum[:, :8, :8])[:, 0],
            hash256=_signs(spectrum[:, :16, :16]),
            colors=colors.reshape(-1, COLOR_CELLS, COLOR_CELLS, 2),
            contrast=gray.std(axis=(1, 2)),
        )


@dataclass(frozen=True)
class Thumbnail:
    """All of a picture that its fingerprint needs: gray (32, 32) float32 and colors (4, 4, 2) uint8."""

    gray: F32
    colors: U8


def thumbnail(data: bytes) -> Thumbnail:
    """The encoded picture (JPEG, PNG, WebP, GIF, BMP, TIFF) made small. Raises InputError where it cannot be decoded."""
    picture = decode(data)
    small = cv2.resize(picture, (GRAY_PX, GRAY_PX), interpolation=cv2.INTER_AREA)
    levels = cv2.cvtColor(small.astype(np.float32), cv2.COLOR_BGR2YCrCb)
    grid = cv2.resize(levels[..., 1:], (COLOR_CELLS, COLOR_CELLS), interpolation=cv2.INTER_AREA)
    return Thumbnail(np.ascontiguousarray(levels[..., 0]), np.clip(np.rint(grid), 0, 255).astype(np.uint8))


def decode(data: bytes) -> U8:
    """The picture as (height, width, 3) blue-green-red, no larger than needed for a thumbnail where the format lets
    it be read smaller; what is transparent shows white. Raises InputError where it cannot be decoded."""
    buffer = np.frombuffer(data, np.uint8)
    jpeg = data[:3] == b"\xff\xd8\xff"
    try:
        picture = cv2.imdecode(buffer, cv2.IMREAD_REDUCED_COLOR_2 if jpeg else cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise InputError(f"{len(data)} bytes cannot be decoded as a picture")
    return picture if jpeg else _over_white(picture)


def _over_white(picture: npt.NDArray[np.generic]) -> U8:
    if picture.dtype != np.uint8:
        picture = cv2.convertScaleAbs(picture, alpha=255.0 / np.iinfo(picture.dtype).max)
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., -1:].astype(np.float32) / 255
    return (picture[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)


@functools.cache
def _cosines() -> F32:
    """(32, 32): row k is the k-th wave of the DCT-II."""
    k, x = np.mgrid[:GRAY_PX, :GRAY_PX]
    return np.cos(np.pi * k * (2 * x + 1) / (2 * GRAY_PX)).astype(np.float32)


def _dct(gray: F32) -> F32:
    waves = _cosines()
    return waves @ gray @ waves.T


def _signs(block: F32) -> U64:
    """(N, side, side) -> (N, side * side / 64): a bit is set where the coefficient is above its picture's median."""
    flat = block.reshape(len(block), block.shape[1] * block.shape[2])
    bits = flat > np.median(flat, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)
