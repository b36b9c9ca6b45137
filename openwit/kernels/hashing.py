"""The hash of image URLs: it places an image in a partition and, within it, in an order that mixes hosts."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openwit.kernels.buffers import Bytes, Offsets, utf8_buffers

U64 = npt.NDArray[np.uint64]

_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_S33 = np.uint64(33)


def url_hashes(urls: pa.Array) -> U64:
    """64 bits a URL: FNV-1a of its UTF-8 bytes, then MurmurHash3's finaliser, which spreads them over all bits."""
    return _hashes(*utf8_buffers(urls))


@numba.njit(cache=True, nogil=True)
def _hashes(data: Bytes, offsets: Offsets) -> U64:
    found = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(found)):
        x = _BASIS
        for at in range(offsets[row], offsets[row + 1]):
            x = (x ^ np.uint64(data[at])) * _PRIME
        x = (x ^ (x >> _S33)) * _FIRST
        x = (x ^ (x >> _S33)) * _SECOND
        found[row] = x ^ (x >> _S33)
    return found
