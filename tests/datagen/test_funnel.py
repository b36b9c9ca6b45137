from __future__ import annotations

from pathlib import Path

from datagen.funnel import FunnelStep, funnel, most_dropped
from openwit import manifest
from openwit.manifest import Manifest, Part


def test_steps_come_in_order_with_reasons_by_falling_number(tmp_path: Path) -> None:
    for folder, counts in {
        "shards": {"in": 3, "kept": 1, "dropped.timeout": 2},
        "matched": {"in": 9, "kept": 4, "dropped.no_alt": 2, "dropped.no_match": 3, "dropped.bad_url": 0},
    }.items():
        part = Part(index=0, key="k", rows=1, files=(), counts=counts)
        manifest.write(str(tmp_path / folder), Manifest(stage="s", version=1, config={}, inputs={}, parts=(part,)))
    steps = funnel(str(tmp_path))
    assert [step.name for step in steps] == ["match", "crawl"]
    assert list(steps[0].dropped.items()) == [("no_match", 3), ("no_alt", 2)]
    assert all(step.entered == step.kept + sum(step.dropped.values()) for step in steps)


def test_the_commonest_reasons_of_all_steps_come_first() -> None:
    match = FunnelStep(name="match", unit="pairs", entered=20, kept=12, dropped={"no_alt": 5, "no_match": 3})
    select = FunnelStep(name="select", unit="pairs", entered=12, kept=5, dropped={"capped": 6, "duplicate": 1})
    found = most_dropped([match, select], 3)
    assert [(entry.step, entry.reason, entry.number, entry.share) for entry in found] == [
        ("select", "capped", 6, 0.5),
        ("match", "no_alt", 5, 0.25),
        ("match", "no_match", 3, 0.15),
    ]
