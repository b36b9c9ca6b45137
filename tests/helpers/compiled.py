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
WIDTHS = (512, 1024)
INSTRUCTIONS = ("mma.sync", "wgmma.mma_async", "tcgen05.mma")
NUM_COLUMNS = 32_768


def compiled(kernel: Any, capability: int, width: int) -> dict[str, Any]:
    """Registers spilled (stack, local memory), instructions and shared memory of a kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from train.loss import fused

    sizes = {"num_columns": NUM_COLUMNS, **fused.tile_sizes(width)}
    constants = {name: sizes[name] for name in kernel.arg_names if name in sizes}
    if "tile_max" not in kernel.arg_names:
        del constants["num_columns"]
    kinds = {"num_rows": "i32", "num_columns": "i32", "first_own": "i32"}
    kinds |= dict.fromkeys(("image", "text", "grad_PN"), "*fp16") | dict.fromkeys(constants, "constexpr")
    signature = {name: kinds.get(name, "*fp32") for name in kernel.arg_names}
    aligned = [i for i, kind in enumerate(signature.values()) if kind.startswith("*")]
    source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    options = fused.launch_options(capability // 10)
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

    kernels = {"_sum_exponentials": fused._sum_exponentials, "_fill_panel": fused._fill_panel}
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
