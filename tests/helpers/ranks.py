"""Runs a test's function on several real processes that share a gloo group.

    losses = run_ranks(my_function, 3, "an argument")     # my_function("an argument") on 3 ranks; results by rank

The function is looked up by name in its own file, so it must stand at the top level of a module; arguments and results
are pickled. RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are set as torchrun does, and as with torchrun
the store in which ranks meet is there already: rank 0 holds it, at a port that the system chose.

Ranks are forked from a process that has imported torch once, which costs 3 seconds of a core each time.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

from helpers.patience import patience
from helpers.places import ROOT

# What ranks import in any case. None of them starts a thread, which would not live on in a fork.
PRELOADED = (
    "torch", "torch._dynamo", "torch.nn.parallel", "train.loop", "train.objectives.clip", "helpers.ranks",
    "helpers.training", "helpers.launching", "hypothesis", "pytest",
)  # fmt: skip
ONE_THREAD = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


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
        ranks = [_start(folder, rank, num_ranks) for rank in range(num_ranks)]
        try:
            _wait(ranks, folder, timeout_s)
        finally:
            for rank in ranks:
                rank.kill()
                rank.join()
        return [pickle.loads((folder / f"result-{rank}.pickle").read_bytes()) for rank in range(num_ranks)]


def _start(folder: Path, rank: int, num_ranks: int) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with mock.patch.dict(os.environ, ONE_THREAD | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}):
        forkserver.ensure_running()
    environment = os.environ | ONE_THREAD
    environment |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
    process = context.Process(target=_live, args=(str(folder), environment), daemon=True)
    process.start()
    return process


def _wait(ranks: list[ForkServerProcess], folder: Path, timeout_s: float) -> None:
    """Returns when all have ended well; the first that fails ends the wait, for the others may hang without it."""
    begun = time.monotonic()
    while any(rank.exitcode is None for rank in ranks) and not any(rank.exitcode for rank in ranks):
        if time.monotonic() - begun > timeout_s and time.monotonic() - begun > patience(timeout_s):
            break
        time.sleep(0.02)
    failed = [i for i, rank in enumerate(ranks) if rank.exitcode]
    if failed:
        raise RankError("\n".join(f"rank {i} of {len(ranks)} failed:\n{_tail(folder, i)}" for i in failed))
    hanging = [i for i, rank in enumerate(ranks) if rank.exitcode is None]
    if hanging:
        output = _tail(folder, hanging[0])
        raise RankError(f"ranks {hanging} of {len(ranks)} did not end in {timeout_s:g} s; rank {hanging[0]}:\n{output}")


def _tail(folder: Path, rank: int) -> str:
    return (folder / f"output-{rank}.txt").read_text(errors="replace")[-4000:]


def _live(folder: str, environment: dict[str, str]) -> None:
    """The life of one rank, in its own process, as if that had been started anew."""
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(f"{folder}/output-{os.environ['RANK']}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    code = 1
    try:
        _run_here(Path(folder))
        code = 0
    except BaseException:  # the boundary to the test, which shows what was printed
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without waiting for the others, which may hang in a collective


def _run_here(folder: Path) -> None:
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
    store = _meet(folder)
    if join_group:
        dist.init_process_group("gloo")
    result = getattr(module, name)(*arguments)
    (folder / f"result-{os.environ['RANK']}.pickle").write_bytes(pickle.dumps(result))
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    del store


def _meet(folder: Path) -> object:
    """The store, in rank 0 alone; afterwards the environment says where it is, as torchrun's agent does."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    note, store = folder / "port", None
    if os.environ["RANK"] == "0":
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(minutes=10))
        note.with_suffix(".part").write_text(str(store.port))
        note.with_suffix(".part").rename(note)
    while not note.exists():
        time.sleep(0.005)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": note.read_text()}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    return store
