"""Bands: some bits of a hash as one number. Near copies share most bits, so likely all of one band; what shares no band
is never compared, which spares the comparison of all with all (locality-sensitive hashing)."""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import numpy.typing as npt

from datagen.duplicates.fingerprints import U64
from openwit.kernels.hashing import GOLDEN

SIDE, LOW = 16, 100  # of the 256 bits those of the 100 lowest frequencies, which a crop or a blur moves least
SHA256, PIXELS = 255, 254  # kinds of keys beside the bands' numbers: equal bytes, equal pixels
_KIND = np.uint64(56)  # the kind is in the upper eight bits


def band_keys(hash256: U64, reliable256: U64, num_bands: int, band_bits: int) -> U64:
    """(N, num_bands): the keys of N hashes (N, 4). Bits that are not reliable count as 0, so that the sign of a
    coefficient near zero does not part two copies."""
    bits = np.unpackbits((hash256 & reliable256).view(np.uint8).reshape(len(hash256), 32), axis=1)
    keys = np.empty((len(hash256), num_bands), np.uint64)
    weights = np.uint64(1) << np.arange(band_bits, dtype=np.uint64)
    for band, chosen in enumerate(_chosen(num_bands, band_bits)):
        keys[:, band] = (bits[:, chosen] * weights).sum(axis=1, dtype=np.uint64) | (np.uint64(band) << _KIND)
    return keys


def digest_keys(digests: npt.NDArray[np.uint8], kind: int) -> U64:
    """(N,): the keys of N digests (N, 32)."""
    first: U64 = digests[:, :8].copy().view(np.uint64)[:, 0]
    return (first >> np.uint64(8)) | (np.uint64(kind) << _KIND)


def kinds(keys: U64) -> U64:
    """What each key is of: the number of a band, PIXELS or SHA256."""
    return keys >> _KIND


def partitions(keys: U64, num_partitions: int) -> npt.NDArray[np.int64]:
    """The partition to which each key is dealt."""
    return (((keys * GOLDEN) >> np.uint64(32)) % np.uint64(num_partitions)).astype(np.int64)


@functools.cache
def _chosen(num_bands: int, band_bits: int) -> tuple[npt.NDArray[np.int64], ...]:
    """The bits of each band, drawn by a hash that is the same everywhere."""
    row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
    lowest = np.argsort(row + column, kind="stable")[:LOW].tolist()

    def drawn(band: int) -> list[int]:
        return sorted(lowest, key=lambda bit: hashlib.blake2b(f"{band}/{bit}".encode()).digest())[:band_bits]

    return tuple(np.array(drawn(band)) for band in range(num_bands))
