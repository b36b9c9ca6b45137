from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import REASONS, SearchConfig
from datagen.duplicates.overlap.scan import OVERLAP, SECONDS, process, read_seconds
from helpers.crawled import Fetched, altered, jpeg, part, png, scene, write_manifest, write_shards
from helpers.eval_index import index_files, limits
from openwit import manifest as manifests
from openwit.errors import InputError
from openwit.stage import Counts, Input, Source, Target, check_counts


def check(folder: Path, samples: list[Fetched], distance: float = 0.12, near_pairs: int = 20) -> Counts:
    write_shards(folder / "shards", [samples])
    index = index_files(folder / "i", {"things": {f"k{seed}": png(scene(seed)) for seed in range(8)}})
    inputs = {name: (Input.outside(str(folder / "shards" / f"00000.{name}")),) for name in ("tar", "parquet")}
    config = SearchConfig(limits=(limits(distance=distance),), near_pairs=near_pairs)
    (folder / "out").mkdir()
    return process(config, Source(index=0, inputs={**inputs, "index": index}), Target(0, folder / "out"))


def fetched(name: str, data: bytes) -> Fetched:
    return Fetched(f"http://host.test/{name}.jpg", data)


def test_each_image_is_counted_once_and_each_pair_is_written(tmp_path: Path) -> None:
    samples = [fetched("same", png(scene(0))), fetched("copy", jpeg(altered(scene(1)), 70))]
    samples += [fetched(f"other{n}", jpeg(scene(100 + n))) for n in range(5)] + [fetched("bad", b"no image")]
    counts = check(tmp_path, samples)
    check_counts(counts)
    assert {name: counts[name] for name in ("in", "kept", "dropped.undecodable", "rows")} == {
        "in": 8, "kept": 5, "dropped.undecodable": 1, "rows": 2,
    }  # fmt: skip
    assert {reason: counts[f"dropped.overlap_{reason}"] for reason in REASONS} == {
        "sha256": 1, "pixels": 0, "phash": 1, "detector": 0,
    }  # fmt: skip
    assert counts["pairs.sha256"] == counts["pairs.phash"] == 1
    assert counts["candidates.hash64"] >= counts["candidates.phash"] == 2
    rows = pq.read_table(tmp_path / "out" / "00000.parquet").to_pylist()
    assert [(row["eval_key"], row["reason"], row["detector"]) for row in rows] == [
        ("k0", "sha256", None), ("k1", "phash", None),
    ]  # fmt: skip
    assert rows[0]["distance256"] == 0
    assert rows[1]["score"] == pytest.approx(1 - rows[1]["distance256"], abs=1e-4)


def test_near_misses_are_kept_apart_the_nearest_of_each_set(tmp_path: Path) -> None:
    samples = [fetched(f"{n}", jpeg(altered(scene(n % 8), crop=0.05 + n // 8 * 0.005), 60)) for n in range(32)]
    matched = check(tmp_path / "lax", samples)
    assert matched["rows"] >= 20
    strict = check(tmp_path / "strict", samples, distance=0.004, near_pairs=3)
    assert strict["rows"] < matched["rows"]
    near = pq.read_table(tmp_path / "strict" / "out" / "00000_near.parquet")
    assert near.schema.equals(OVERLAP)
    distances = near["distance256"].to_pylist()
    assert len(distances) == 3
    assert distances == sorted(distances)
    assert all(0.004 < apart <= 0.054 for apart in distances)


def test_seconds_are_told_for_each_stage_and_added_up(tmp_path: Path) -> None:
    check(tmp_path, [fetched("other", jpeg(scene(100)))])
    notes = json.loads((tmp_path / "out" / "notes" / "00000_stats.json").read_text())
    assert set(notes["seconds"]) == set(SECONDS)
    assert notes["images"] == 1
    assert notes["seconds"]["decode"] > 0
    folder = tmp_path / "pairs"
    folder.mkdir()
    for index in range(2):
        (folder / f"{index:05d}_stats.json").write_text(json.dumps({"seconds": dict.fromkeys(SECONDS, 1.5)}))
        (folder / f"{index:05d}.parquet").write_bytes(b"")
    counts = {"in": 1, "kept": 1}
    write_manifest(folder, "overlap", [part(folder, index, [f"{index:05d}.parquet"], counts) for index in range(2)])
    assert read_seconds(str(folder), manifests.read(str(folder))) == dict.fromkeys(SECONDS, 3.0)


def test_a_tar_that_ends_early_is_an_input_error(tmp_path: Path) -> None:
    samples = [fetched(f"other{n}", jpeg(scene(100 + n))) for n in range(3)]
    check(tmp_path, samples)
    tar = tmp_path / "shards" / "00000.tar"
    index = tuple(Input.outside(str(p)) for p in sorted((tmp_path / "i" / "search").iterdir()) if p.is_file())
    write_shards(tmp_path / "short", [samples[:2]])
    tar.write_bytes((tmp_path / "short" / "00000.tar").read_bytes())
    inputs = {name: (Input.outside(str(tmp_path / "shards" / f"00000.{name}")),) for name in ("tar", "parquet")}
    with pytest.raises(InputError, match="holds 2 images, its table 3"):
        process(SearchConfig(limits=(limits(),), near_pairs=1), Source(index=1, inputs={**inputs, "index": index}),
                Target(1, tmp_path / "out"))  # fmt: skip
