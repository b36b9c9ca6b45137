"""The funnel: how many candidates each step kept, and why it dropped the others."""

from __future__ import annotations

from dataclasses import dataclass

from openwit import manifest as manifests
from openwit import storage


@dataclass(frozen=True, kw_only=True)
class FunnelStep:
    """One step's counts; `entered` equals `kept` plus all of `dropped`."""

    name: str
    unit: str
    entered: int
    kept: int
    dropped: dict[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{name} {number:,}" for name, number in self.dropped.items())
        share = self.kept / self.entered if self.entered else 0.0
        return f"{self.name:<8} {self.entered:>9,} {self.unit:<10} kept {self.kept:>9,} ({share:6.1%})  {reasons}"


STEPS = (("match", "matched", "candidates"), ("select", "selected", "pairs"), ("crawl", "shards", "images"))


def funnel(work: str) -> list[FunnelStep]:
    """The steps whose manifests stand in the work folder, in order; reasons by falling number."""
    steps = []
    for name, folder, unit in STEPS:
        if not storage.exists(storage.join(work, folder, manifests.MANIFEST)):
            continue
        counts = manifests.read(storage.join(work, folder)).counts
        dropped = {key.removeprefix("dropped."): n for key, n in counts.items() if key.startswith("dropped.") and n}
        ordered = dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0])))
        steps.append(FunnelStep(name=name, unit=unit, entered=counts["in"], kept=counts["kept"], dropped=ordered))
    return steps
