"""The hashes: FNV-1a for texts, SplitMix64 for numbers, and the hash of image URLs that is made of the first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openwit.kernels.buffers import Bytes, Offsets, utf8_buffers
from openwit.kernels.compiled import compiled, inlined

U64 = npt.NDArray[np.uint64]

FNV_BASIS, _FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # of the golden ratio, odd: the step of SplitMix64
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of SplitMix64
_MURMUR_1, _MURMUR_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)  # of MurmurHash3
_S27, _S30, _S31, _S33 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(33)


@inlined
def fnv1a(key: np.uint64, byte: np.uint8) -> np.uint64:
    """The FNV-1a hash of a text that goes on with this byte; FNV_BASIS is the hash of no bytes."""
    return (key ^ np.uint64(byte)) * _FNV_PRIME


@inlined
def mix(x: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64 (Steele et al. 2014): every bit of x moves every bit of the result."""
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    return x ^ (x >> _S31)


@compiled
def mixed(numbers: npt.NDArray[np.int64]) -> U64:
    """The hash of each number."""
    found = np.empty(len(numbers), np.uint64)
    for i in range(len(numbers)):
        found[i] = mix(np.uint64(numbers[i]))
    return found


@compiled
def splitmix64(seeds: U64, length: int) -> U64:
    """[N, length]: the first numbers of the generator for each of N seeds."""
    found = np.empty((len(seeds), length), np.uint64)
    for row in range(len(seeds)):  # a seed's numbers are a chain; the rows are independent
        state = seeds[row]
        for i in range(length):
            state += GOLDEN
            found[row, i] = mix(state)
    return found


def url_hashes(urls: pa.Array) -> U64:
    """64 bits a URL: FNV-1a of its UTF-8 bytes, then MurmurHash3's finaliser, which spreads them over all bits. They
    place an image in a partition and, within it, in an order that mixes hosts."""
    return _url_hashes(*utf8_buffers(urls))


@compiled
def _url_hashes(data: Bytes, offsets: Offsets) -> U64:
    found = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(found)):
        x = FNV_BASIS
        for at in range(offsets[row], offsets[row + 1]):
            x = fnv1a(x, data[at])
        x = (x ^ (x >> _S33)) * _MURMUR_1
        x = (x ^ (x >> _S33)) * _MURMUR_2
        found[row] = x ^ (x >> _S33)
    return found
