"""Arrow's string arrays as the flat numpy arrays that compiled kernels read, and back.

Asking memory for a cache line before it is needed, in compiled code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


def utf8_buffers(texts: pa.Array) -> tuple[Bytes, Offsets]:
    """The bytes of a (large) string array, and where its texts begin and the last one ends; a null is an empty text.
    No text is copied where there are no nulls. Raises TypeError for arrays of other types."""
    if pa.types.is_null(texts.type):
        texts = texts.cast(pa.string())
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"an array of {texts.type}: expected one of string or large_string")
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    _, ends, data = texts.buffers()
    width = np.int32 if pa.types.is_string(texts.type) else np.int64
    offsets = np.zeros(1, dtype=np.int64)
    if len(texts):
        offsets = np.frombuffer(ends, width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    view = np.frombuffer(data or b"", np.uint8)
    view.flags.writeable = False  # kernels are compiled for one type: arrays that nobody writes to
    return view, offsets


def text_array(texts: Sequence[str]) -> pa.LargeStringArray:
    """The texts as an Arrow array; a lone surrogate keeps its three bytes, which are no valid UTF-8."""
    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return pa.LargeStringArray.from_buffers(len(parts), pa.py_buffer(ends), pa.py_buffer(b"".join(parts)))


def string_array(data: Bytes | bytes, offsets: npt.NDArray[np.integer[Any]]) -> pa.StringArray:
    """The texts data[offsets[i]:offsets[i + 1]], of less than 2 GiB in all, as an Arrow array; the opposite of
    utf8_buffers."""
    ends = pa.py_buffer(offsets.astype(np.int32, copy=False))
    return pa.StringArray.from_buffers(len(offsets) - 1, ends, pa.py_buffer(data[: offsets[-1]]))


def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        block = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(block.data, [arguments[1]], inbounds=True)
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        flags = [ir.Constant(ir.IntType(32), number) for number in (0, 3, 1)]  # to read, to keep in all caches, data
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, *(flag.type for flag in flags)])
        builder.call(builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind), [pointer, *flags])
        return context.get_dummy_value()

    return types.void(array, index), generate


# prefetch(array, index) starts reading array[index], which must lie within the array; it does not wait.
prefetch = cast(Callable[[Any, int], None], intrinsic(_prefetch))
