from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from datagen.config import ShuffleConfig
from datagen.select import shuffle
from helpers.pairs import Pair, run_step, write_matched
from openwit.errors import ConfigError
from openwit.kernels.hashing import url_hashes
from openwit.manifest import Part, PartFile
from openwit.shards.notes import pair_uid
from openwit.storage.slices import read_slice

PAIRS: list[Pair] = [(f"http://h{i % 7}.test/{i // 3}.jpg", f"caption {i}", [i % 5, 9]) for i in range(200)]


def shuffled(
    folder: Path, files: list[list[Pair]], num_partitions: int
) -> tuple[dict[str, int], list[list[dict[str, Any]]]]:
    """The counts, and the rows of every partition with pairs and texts side by side."""
    matched = tuple(write_matched(folder / "matched", number, pairs) for number, pairs in enumerate(files))
    config = ShuffleConfig(num_partitions=num_partitions)
    counts = run_step(shuffle.process, config, {"matched": matched}, folder / "out")
    slices = []
    for number in range(num_partitions):
        pairs = read_slice(str(folder / "out" / "00000.pairs.arrow"), number).to_pylist()
        texts = read_slice(str(folder / "out" / "00000.texts.arrow"), number).to_pylist()
        slices.append([{**pair, **text} for pair, text in zip(pairs, texts, strict=True)])
    return dict(counts), slices


def test_every_pair_stands_in_the_partition_of_its_image_url_with_its_texts_and_queries(tmp_path: Path) -> None:
    _, slices = shuffled(tmp_path, [PAIRS[:120], PAIRS[120:]], 5)
    found = {(row["url"], row["caption"]): row for rows in slices for row in rows}
    assert len(found) == len(PAIRS)
    for url, caption, query_ids in PAIRS:
        row = found[url, caption]
        assert row["query_ids"] == query_ids
        assert f"{row['uid_high']:016x}{row['uid_low']:016x}" == pair_uid(url, caption)
        assert row in slices[int(url_hashes(pa.array([url]))[0] % np.uint64(5))]


def test_copies_inside_a_bundle_are_counted_and_the_first_is_kept(tmp_path: Path) -> None:
    again = write_matched(tmp_path / "again", 1, PAIRS[:10])
    first = write_matched(tmp_path / "first", 0, [*PAIRS, *PAIRS[:30]])
    inputs = {"matched": (first, again)}
    counts = run_step(shuffle.process, ShuffleConfig(num_partitions=3), inputs, tmp_path / "out")
    assert counts == {"in": 240, "kept": 200, "dropped.duplicate": 40}


def test_the_order_of_files_changes_no_byte_but_for_copies(tmp_path: Path) -> None:
    shuffled(tmp_path / "a", [PAIRS[:50], PAIRS[50:]], 4)
    shuffled(tmp_path / "b", [PAIRS[50:][::-1], PAIRS[:50]], 4)
    for name in ("00000.pairs.arrow", "00000.texts.arrow"):
        assert (tmp_path / "a" / "out" / name).read_bytes() == (tmp_path / "b" / "out" / name).read_bytes()


def test_files_without_pairs_give_empty_slices(tmp_path: Path) -> None:
    counts, slices = shuffled(tmp_path, [[], []], 3)
    assert counts == {"in": 0, "kept": 0, "dropped.duplicate": 0}
    assert slices == [[], [], []]


def test_bundles_are_runs_of_files_up_to_a_size() -> None:
    sizes = [3, 3, 3, 9, 20, 1, 1]
    parts = [
        Part(index=i, key="", rows=1, counts={}, files=(PartFile(name=f"{i:05d}.parquet", bytes=size, sha256=""),))
        for i, size in enumerate(sizes)
    ]
    assert [[part.index for part in bundle] for bundle in shuffle.bundles(parts, 9)] == [[0, 1, 2], [3], [4], [5, 6]]
    assert list(shuffle.bundles([], 9)) == []


@pytest.mark.parametrize("field", ["num_partitions", "bundle_mb"])
def test_the_config_refuses_what_deals_nothing(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}=0"):
        ShuffleConfig(**{field: 0})
