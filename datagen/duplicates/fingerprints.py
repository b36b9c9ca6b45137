"""What an image is known by: a perceptual hash of 64 bits, one of 256, and a coarse grid of colours.

Both hashes are signs of low frequencies of the grey image's cosine transform (DCT), so that scale, compression and
a change of brightness or contrast hardly touch them. A sign says little where the coefficient is next to nothing (half
of them in a symmetric drawing), so each hash comes with a mask of its reliable bits, and two images are compared by
the reliable bits of one of them. Hashes see no colour; the grid does.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from openwit.images import decode, decode_reduced
from openwit.images.header import U8
from openwit.images.shrink import encode_jpeg

GRAY_PX = 32  # side of the grey image that is transformed, as in pHash
DECODED_PX = 48  # shorter side of an image that is to be made so small, at least
COLOR_CELLS = 4  # side of the grid of colours
RELIABLE = 0.2  # of the image's root-mean-square coefficient: how far from the median a reliable coefficient is
SHOWN_PX = 128  # longer side of an image in the report
SHOWN_QUALITY = 95

U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue: ITU-R BT.601, as in JPEG
CHROMA = np.stack([0.713 * (np.eye(3)[0] - LUMA), 0.564 * (np.eye(3)[2] - LUMA)], axis=1).astype(np.float32)  # Cr, Cb


@dataclass(frozen=True)
class Fingerprints:
    """N images: hash64 (N, 1) and hash256 (N, 4) uint64 with masks reliable64 and reliable256 alike, colors (N, 32)
    uint8, contrast (N,) float32, the standard deviation of the grey image in levels of 255."""

    hash64: U64
    reliable64: U64
    hash256: U64
    reliable256: U64
    colors: U8
    contrast: F32

    def __len__(self) -> int:
        return len(self.contrast)

    @classmethod
    def of(cls, thumbnails: Sequence[U8]) -> Fingerprints:
        """The fingerprints of N images made small by `thumbnail`."""
        small = np.array(thumbnails, np.float32).reshape(-1, GRAY_PX, GRAY_PX, 3)
        gray = small @ LUMA
        contrast = gray.std(axis=(1, 2))
        spectrum = _waves() @ gray @ _waves().T
        hash64, reliable64 = _signs(spectrum[:, :8, :8], contrast)
        hash256, reliable256 = _signs(spectrum, contrast)
        rows = _cells() @ small.reshape(-1, GRAY_PX, GRAY_PX * 3)
        grid = _cells() @ rows.reshape(-1, COLOR_CELLS, GRAY_PX, 3) @ CHROMA + 128
        colors = np.clip(np.rint(grid), 0, 255).astype(np.uint8).reshape(len(small), 2 * COLOR_CELLS**2)
        return cls(hash64, reliable64, hash256, reliable256, colors, contrast)


def distance(a: U64, b: U64, reliable: U64) -> F32:
    """The share of the reliable bits in which two hashes differ, over the last axis; shapes broadcast; 1 where none."""
    differing = np.bitwise_count((a ^ b) & reliable).sum(-1, dtype=np.int32)
    bits = np.bitwise_count(reliable).sum(-1, dtype=np.int32)
    return np.where(bits > 0, differing / np.maximum(bits, 1), 1).astype(np.float32)


def decode_small(data: bytes) -> U8:
    """The image as (height, width, 3) RGB, perhaps at reduced scale: all that its thumbnail needs. Raises InputError
    where it cannot be decoded."""
    return decode_reduced(data, DECODED_PX)


def pixels_sha256(data: bytes) -> str:
    """The sha256 of the image's size and pixels: equal where the same pixels came in another container (a PNG as
    lossless WebP or BMP, a JPEG with other metadata). Raises InputError where it cannot be decoded."""
    image = decode(data)
    return hashlib.sha256(f"{image.shape[1]}x{image.shape[0]}:".encode() + image.tobytes()).hexdigest()


def thumbnail(image: U8) -> U8:
    """The decoded image as (32, 32, 3), its shape ignored: all that its fingerprint needs."""
    return np.asarray(cv2.resize(image, (GRAY_PX, GRAY_PX), interpolation=cv2.INTER_AREA), np.uint8)


def shown(image: U8) -> bytes:
    """A JPEG of the decoded image for the report, at most 128 px a side."""
    scale = min(1.0, SHOWN_PX / max(image.shape[:2]))
    size = [max(1, round(side * scale)) for side in (image.shape[1], image.shape[0])]
    return encode_jpeg(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), SHOWN_QUALITY)


@functools.cache
def _waves() -> F32:
    """(16, 32): row k is the k-th wave of the DCT-II, the lowest half of them."""
    k, x = np.mgrid[: GRAY_PX // 2, :GRAY_PX]
    waves: F32 = np.cos(np.pi * k * (2 * x + 1) / (2 * GRAY_PX)).astype(np.float32)
    return waves


@functools.cache
def _cells() -> F32:
    """(4, 32): row k averages the k-th quarter."""
    return np.kron(np.eye(COLOR_CELLS), np.full(GRAY_PX // COLOR_CELLS, COLOR_CELLS / GRAY_PX)).astype(np.float32)


def _signs(block: F32, contrast: F32) -> tuple[U64, U64]:
    """Bits and reliable bits (N, side * side / 64) of coefficients (N, side, side), which are compared with the median
    of their image. With these waves the root-mean-square coefficient is contrast * 32 / 2."""
    flat = block.reshape(len(block), block.shape[1] * block.shape[2])
    above = flat - np.median(flat, axis=1, keepdims=True)
    reliable = np.abs(above) >= (RELIABLE * GRAY_PX / 2) * contrast[:, None]
    return _words(above > 0), _words(reliable)


def _words(bits: npt.NDArray[np.bool_]) -> U64:
    return np.packbits(bits, axis=1).view(np.uint64)
