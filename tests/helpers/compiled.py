"""Compiles the fused loss's kernels for GPUs that need not be there, and says what came out, as JSON.

Run as a program, without TRITON_INTERPRET: {"<kernel> <capability> <width>": {stack_bytes, local_bytes, …}}
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

CAPABILITIES = (80, 90, 100)
WIDTHS = {512: 16, 1024: 1}  # width: what divides the numbers of pairs, for which Triton makes other code
INSTRUCTIONS = ("mma.sync", "wgmma.mma_async", "tcgen05.mma")


def compiled(kernel: Any, capability: int, width: int) -> dict[str, Any]:
    """Registers spilled (stack, local memory), instructions and shared memory of a kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from train.loss import fused

    sizes = fused.operand_sizes(width, normalize=True) if kernel is fused._write_operand else fused.tile_sizes(width)
    kinds = dict.fromkeys(("num_rows", "num_columns", "stretch", "first_own", "width"), "i32")
    kinds |= dict.fromkeys(("image", "text", "grad_PQ", "operand"), "*fp16") | dict.fromkeys(sizes, "constexpr")
    signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
    whole = ("*fp16", "*fp32", "i32" if WIDTHS[width] == 16 else "")
    multiples = [i for i, kind in enumerate(signature.values()) if kind in whole]
    source = ASTSource(kernel, signature, sizes, {(i,): [["tt.divisibility", 16]] for i in multiples})
    options = {} if kernel is fused._write_operand else fused.launch_options(capability // 10)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx = made.asm["ptx"]
    return {
        **_memory(made.asm["cubin"], Path(triton.__file__).parent),
        "instructions": {name: ptx.count(name) for name in INSTRUCTIONS},
        "atomics": len(re.findall(r"^\s*(?:@%p\d+ )?(?:atom|red)\.", ptx, re.M)),
        "shared_bytes": made.metadata.shared,
    }


def _memory(binary: bytes, triton_folder: Path) -> dict[str, int]:
    program = triton_folder / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run([program, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    ((stack, local),) = re.findall(r"STACK:(\d+).*?LOCAL:(\d+)", said)
    return {"stack_bytes": int(stack), "local_bytes": int(local)}


def main() -> None:
    """Prints what each kernel came to for each capability and width."""
    from train.loss import fused

    kernels = {name: getattr(fused, name) for name in ("_write_operand", "_sum_exponentials", "_fill_panel")}
    print(
        json.dumps(
            {
                f"{name} {capability} {width}": compiled(kernel, capability, width)
                for name, kernel in kernels.items()
                for capability in CAPABILITIES
                for width in WIDTHS
            }
        )
    )


if __name__ == "__main__":
    main()
