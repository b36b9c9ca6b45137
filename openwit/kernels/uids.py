"""Uids in arrays: two integers each, the upper and the lower half of the 32 hex digits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from openwit.errors import InputError
from openwit.kernels.buffers import string_array, utf8_buffers

U64 = npt.NDArray[np.uint64]
DIGITS = 32
_IS_HEX = np.isin(np.arange(256), list(b"0123456789abcdef"))


def uid_halves(uids: pa.Array) -> tuple[U64, U64]:
    """The upper and the lower halves of the uids, which sort as the texts do. Raises InputError where one is not of
    32 hex digits."""
    data, offsets = utf8_buffers(uids)
    digits = data[offsets[0] : offsets[-1]]
    odd = np.diff(offsets) != DIGITS
    if not odd.any():
        odd = ~_IS_HEX[digits].reshape(len(uids), DIGITS).all(axis=1)
    if odd.any():
        text = uids[int(odd.argmax())].as_py()
        raise InputError(f"uid {text!r}: expected {DIGITS} hex digits")
    halves = np.frombuffer(bytes.fromhex(digits.tobytes().decode("ascii")), ">u8").reshape(-1, 2)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def uid_texts(high: U64, low: U64) -> pa.Array:
    """The uids as 32 hex digits each."""
    return hex_texts(np.stack([high, low], axis=1).astype(">u8").tobytes())


def hex_texts(uids: bytes) -> pa.Array:
    """The uids, given as bytes end to end, as 32 hex digits each."""
    digits = uids.hex().encode()
    return string_array(digits, np.arange(0, len(digits) + 1, DIGITS))


def first_of_each(high: U64, low: U64) -> npt.NDArray[np.int64]:
    """The places of the distinct uids, in the order of uids; of equal ones the first place."""
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    first = np.ones(len(order), bool)
    first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return order[first]
