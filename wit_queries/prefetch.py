"""Asking memory for a cache line before it is needed, in compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


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
