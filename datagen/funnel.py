"""The funnel: how many candidates each step kept, and why it dropped the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openwit import manifest as manifests
from openwit import storage
from openwit.log.text_table import NO_BREAK, text_table


@dataclass(frozen=True, kw_only=True)
class FunnelStep:
    """One step's counts; `entered` equals `kept` plus all of `dropped`."""

    name: str
    unit: str
    entered: int
    kept: int
    dropped: dict[str, int]

    @property
    def row(self) -> tuple[object, ...]:
        """The step's cells under COLUMNS."""
        share = self.kept / self.entered if self.entered else 0.0
        return (self.name, self.unit, self.entered, self.kept, f"{share:.1%}")


COLUMNS = ("step", "of", "in", "kept", "share")


STEPS = (
    ("match", "matched", "candidates"),
    ("shuffle", "shuffled", "pairs"),
    ("distinct", "distinct", "pairs"),
    ("select", "selected", "pairs"),
    ("crawl", "shards", "images"),
)


def funnel(work: str) -> list[FunnelStep]:
    """The steps whose manifests stand in the work folder, in order; reasons by falling number."""
    steps = []
    for name, folder, unit in STEPS:
        if not storage.exists(storage.join(work, folder, manifests.MANIFEST)):
            continue
        counts = manifests.read(storage.join(work, folder)).counts
        dropped = last_dropped(counts)
        ordered = dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0])))
        entered = counts["kept"] + sum(dropped.values())
        steps.append(FunnelStep(name=name, unit=unit, entered=entered, kept=counts["kept"], dropped=ordered))
    return steps


def funnel_table(steps: Sequence[FunnelStep]) -> str:
    """The steps as a person reads them at the terminal, each with its reasons."""
    reasons = [", ".join(f"{name}{NO_BREAK}{number:,}" for name, number in step.dropped.items()) for step in steps]
    rows = [(*step.row, text) for step, text in zip(steps, reasons, strict=True)]
    return text_table((*COLUMNS, "dropped because"), rows)


def last_dropped(counts: Mapping[str, int]) -> dict[str, int]:
    """reason → the rows that were dropped for it, without those that were fetched again (`retried.<reason>`)."""
    found = {name.removeprefix("dropped."): n for name, n in counts.items() if name.startswith("dropped.")}
    left = {reason: n - counts.get(f"retried.{reason}", 0) for reason, n in found.items()}
    return {reason: n for reason, n in left.items() if n}


@dataclass(frozen=True, kw_only=True)
class DroppedReason:
    """Why one step dropped so many of what entered it."""

    step: str
    reason: str
    number: int
    share: float  # of what entered the step


def most_dropped(steps: Sequence[FunnelStep], number: int) -> list[DroppedReason]:
    """The `number` commonest reasons of all steps, by falling number; equal ones in the steps' order."""
    reasons = [
        DroppedReason(step=step.name, reason=reason, number=dropped, share=dropped / step.entered)
        for step in steps
        for reason, dropped in step.dropped.items()
    ]
    return sorted(reasons, key=lambda entry: -entry.number)[:number]
