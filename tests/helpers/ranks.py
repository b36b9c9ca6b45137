"""Runs a test's function on several real processes that share a gloo group.

    losses = run_ranks(my_function, 3, "an argument")     # my_function("an argument") on 3 ranks; results by rank

The function is looked up by name in its own file, so it must stand at the top level of a module; arguments and results
are pickled. RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are set as torchrun does.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.places import ROOT


class RankError(AssertionError):
    """A rank raised, died or did not end in time; holds what it printed."""


def run_ranks(
    function: Callable[..., Any], num_ranks: int, *arguments: Any, timeout_s: float = 120.0, join_group: bool = True
) -> list[Any]:
    """What `function(*arguments)` returned on each rank; `join_group` False leaves the process group to it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call = (function.__code__.co_filename, function.__name__, arguments, join_group)
        (folder / "call.pickle").write_bytes(pickle.dumps(call))
        port = _free_port()
        ranks = [_start(folder, rank, num_ranks, port) for rank in range(num_ranks)]
        try:
            _wait(ranks, folder, time.monotonic() + timeout_s, timeout_s)
        finally:
            for rank in ranks:
                rank.kill()
                rank.wait()
        return [pickle.loads((folder / f"result-{rank}.pickle").read_bytes()) for rank in range(num_ranks)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(folder: Path, rank: int, num_ranks: int, port: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    with (folder / f"output-{rank}.txt").open("wb") as output:
        command = [sys.executable, "-m", "helpers.ranks", str(folder)]
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)


def _wait(ranks: list[subprocess.Popen[bytes]], folder: Path, deadline: float, timeout_s: float) -> None:
    """Returns when all have ended well; the first that fails ends the wait, for the others may hang without it."""
    while any(rank.poll() is None for rank in ranks):
        failed = [i for i, rank in enumerate(ranks) if rank.poll()]
        if failed or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    failed = [i for i, rank in enumerate(ranks) if rank.poll()]
    if failed:
        raise RankError("\n".join(f"rank {i} of {len(ranks)} failed:\n{_tail(folder, i)}" for i in failed))
    hanging = [i for i, rank in enumerate(ranks) if rank.poll() is None]
    if hanging:
        output = _tail(folder, hanging[0])
        raise RankError(f"ranks {hanging} of {len(ranks)} did not end in {timeout_s:g} s; rank {hanging[0]}:\n{output}")


def _tail(folder: Path, rank: int) -> str:
    return (folder / f"output-{rank}.txt").read_text(errors="replace")[-4000:]


def _run_here(folder: Path) -> None:
    """The life of one rank."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    file, name, arguments, join_group = pickle.loads((folder / "call.pickle").read_bytes())
    spec = importlib.util.spec_from_file_location(f"ranked_{Path(file).stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if join_group:
        dist.init_process_group("gloo")
    result = getattr(module, name)(*arguments)
    (folder / f"result-{os.environ['RANK']}.pickle").write_bytes(pickle.dumps(result))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    try:
        _run_here(Path(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # without waiting for the others, which may hang in a collective
