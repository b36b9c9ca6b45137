"""Which pairs the cap selects of a small set of matched pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from datagen.config import CapConfig
from helpers.capped import carry, selections
from helpers.pairs import Pair

PAIRS: list[Pair] = [
    (f"http://h{i % 7}.test/{i // 3}.jpg", f"caption {i}", sorted({0, i % 5 + 1, i % 11 + 6})) for i in range(300)
]


@pytest.mark.parametrize("mode", ["strict", "expected"])
def test_the_selected_pairs_are_what_they_were(
    tmp_path: Path, mode: Literal["strict", "expected"], golden: Callable[[str, object], None]
) -> None:
    found = {}
    for seed in (0, 5):
        config = CapConfig(max_pairs=6, mode=mode, seed=seed)
        rows = carry(tmp_path / str(seed), [[PAIRS[:150]], [PAIRS[100:]]], config, 3)
        for query, uids in sorted(selections(rows).items()):
            found[f"seed {seed}, query {query}"] = sorted(uid[:12] for uid in uids)
        found[f"seed {seed}, order"] = [row["url"].removeprefix("http://") for row in rows]
    golden(f"cap_{mode}", found)
