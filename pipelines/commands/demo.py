"""openwit demo: the whole pipeline on the embedded example, and a summary of what came out.

How much memory a run takes with all its processes.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import psutil

from datagen.funnel import funnel, funnel_table
from openwit import storage
from openwit.log.events import duration
from openwit.storage.tables import read_table
from pipelines.commands.dataset import run_build_dataset, run_stats
from pipelines.commands.duplicates import run_dedup_check
from pipelines.commands.evaluate import run_evaluate
from pipelines.commands.pretrain import run_pretrain
from pipelines.commands.queries import run_queries
from pipelines.session import Invocation, carry_out

EVERY_S = 1.0


class PeakMemory:
    """The largest sum of the proportional set sizes (shared pages counted once) of a process tree, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()

    def watch(self) -> None:
        """Samples until stopped."""
        me = psutil.Process()
        while not self._stop.wait(EVERY_S):
            self.bytes = max(self.bytes, sum(map(_size, [me, *me.children(recursive=True)])))

    def stop(self) -> None:
        """Ends the sampling."""
        self._stop.set()


def _size(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.rss))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measures while the context is open."""
    peak = PeakMemory()
    thread = threading.Thread(target=peak.watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        peak.stop()
        thread.join()


# The overlap is looked for twice: before training, which leaves it out, and after it, for what it did to the accuracy.
STEPS = (run_queries, run_build_dataset, run_dedup_check, run_pretrain, run_evaluate, run_dedup_check, run_stats)

MADE = {
    "report": "report/index.html",
    "overlap": "duplicates/report.html",
    "checkpoint": "pretrain/checkpoints/",
    "summary": "summary.json",
}


def run_demo(invocation: Invocation) -> None:
    """Runs every step (a step that is done takes no time), prints the summary and writes summary.json."""
    started = time.monotonic()
    with peak_memory() as peak:
        for step in STEPS:
            invocation.log.say(f"── {step.__name__.removeprefix('run_').replace('_', '-')}")
            carry_out(step, invocation)
    if invocation.dry_run:
        return
    cost = {"seconds": round(time.monotonic() - started, 1), "peak_memory_gb": round(peak.bytes / 1e9, 2)}
    summary = _keep_first_cost(invocation.work, {**results(invocation.work), **cost})
    storage.write_json(storage.join(invocation.work, "summary.json"), summary)
    _print(invocation, summary, cost["seconds"])


def results(work: str) -> dict[str, object]:
    """What the run came to: the funnel, overlap against the known answer, accuracies."""
    steps = funnel(work)
    report = storage.read_json(storage.join(work, "web", "eval", "planted.json"))
    planted = set(report["planted"])
    overlap = storage.join(work, "duplicates", "overlap", "things.parquet")
    found = set(read_table(overlap, ["eval_key"])["eval_key"].to_pylist())
    evals = sorted(storage.list_sizes(storage.join(work, "pretrain", "evals")))
    scores = storage.read_json(storage.join(work, "pretrain", "evals", evals[-1]))
    return {
        "funnel": [
            {"step": step.name, "unit": step.unit, "in": step.entered, "kept": step.kept, "dropped": step.dropped}
            for step in steps
        ],
        "overlap_planted": len(planted),
        "overlap_found": len(found & planted),
        "overlap_false": len(found - planted),
        "zero_shot_top1": scores["zero_shot"]["top1"],
        "zero_shot_top5": scores["zero_shot"]["top5"],
        "digits_accuracy": scores["digits"]["accuracy"] if "digits" in scores else None,
    }


def _keep_first_cost(work: str, summary: dict[str, object]) -> dict[str, object]:
    """A second run that only looks at what is done keeps the first one's time and memory."""
    url = storage.join(work, "summary.json")
    if not storage.exists(url):
        return summary
    before = storage.read_json(url)
    cost = ("seconds", "peak_memory_gb")
    same = {name: value for name, value in before.items() if name not in cost} == json.loads(
        json.dumps({name: value for name, value in summary.items() if name not in cost})
    )
    longer = before.get("seconds", 0) > summary["seconds"]
    return before if same and longer else summary


def _print(invocation: Invocation, summary: dict[str, object], seconds: float) -> None:
    work, say = invocation.work, invocation.log.say
    say("── summary")
    say(funnel_table(funnel(work)))
    say(
        f"  overlap with the evaluation images: {summary['overlap_found']} of {summary['overlap_planted']} planted "
        f"copies found, {summary['overlap_false']} false"
    )
    top1, top5, unseen = summary["zero_shot_top1"], summary["zero_shot_top5"], invocation.recipe.web.num_heldout
    say(f"  zero-shot on {unseen} unseen names: top-1 {top1:.1%}, top-5 {top5:.1%}")
    if summary["digits_accuracy"] is not None:
        say(f"  linear probe on digits: {summary['digits_accuracy']:.1%}")
    say(
        f"  {duration(seconds)} now, {duration(float(str(summary['seconds'])))} in all; "
        f"at most {summary['peak_memory_gb']} GB of memory"
    )
    for name, path in MADE.items():  # each on one line, so that it can be copied
        say(f"  {name + ':':<12}{work}/{path}")
