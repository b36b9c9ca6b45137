from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import IndexConfig
from datagen.duplicates.hashes import Fingerprints, decode, thumbnail
from datagen.duplicates.index import INDEX, Index, Limits, build, load_index
from helpers.crawled import altered, jpeg, png, scene, write_eval_set
from openwit.errors import InputError
from openwit.stage import Counts, Input, Source, Target

LIMITS = Limits(max_distance64=0.2, max_distance256=0.12, max_color_distance=15.0, min_contrast=4.0)


def build_index(folder: Path, eval_set: Path, crop: float = 0.03) -> tuple[Counts, Index]:
    source = Source(index=0, inputs={"eval_set": (Input.outside(str(eval_set)),)})
    target = Target(0, folder)
    counts = build(IndexConfig(names=("things",), crop=crop), source, target)
    path = target.path(".parquet")
    return counts, load_index(((str(path), Input.outside(str(path)).identity),))


def search(index: Index, *pictures: bytes, limits: Limits = LIMITS) -> list[tuple[int, str, str]]:
    prints = Fingerprints.of([thumbnail(decode(data)) for data in pictures])
    return [(m.query, m.eval_key, m.reason) for m in index.search(prints, [set()] * len(pictures), limits)]


def test_a_cropped_copy_is_found_by_a_view_and_missed_without_views(tmp_path: Path) -> None:
    pictures = {f"k{seed}": png(scene(seed)) for seed in range(12)}
    copies = [jpeg(altered(scene(seed), crop=0.04), 70) for seed in range(12)]
    eval_set = write_eval_set(tmp_path / "things.parquet", pictures)
    _, index = build_index(tmp_path, eval_set)
    assert search(index, *copies) == [(seed, f"k{seed}", "phash") for seed in range(12)]
    strict = Limits(max_distance64=0.2, max_distance256=0.04, max_color_distance=15.0, min_contrast=4.0)
    _, whole = build_index(tmp_path, eval_set, crop=0.0)
    assert len(search(whole, *copies, limits=strict)) < len(search(index, *copies, limits=strict))


def test_flat_pictures_match_by_their_bytes_alone(tmp_path: Path) -> None:
    white, gray = (png(np.full((64, 64, 3), level, np.uint8)) for level in (255, 250))
    _, index = build_index(tmp_path, write_eval_set(tmp_path / "e.parquet", {"white": white}))
    assert search(index, white, gray) == []
    sha256 = next(iter(index.by_sha256))
    prints = Fingerprints.of([thumbnail(decode(gray))])
    (match,) = index.search(prints, [{sha256}], LIMITS)
    assert (match.eval_key, match.reason, match.score) == ("white", "sha256", 1.0)


def test_another_colour_is_another_picture(tmp_path: Path) -> None:
    picture = scene(1) // 2 + 60
    _, index = build_index(tmp_path, write_eval_set(tmp_path / "e.parquet", {"one": png(picture)}))
    tinted = np.clip(picture.astype(int) + np.array([-50, 0, 50]), 0, 255).astype(np.uint8)
    assert search(index, png(picture)) == [(0, "one", "phash")]
    assert search(index, png(tinted)) == []


def test_undecodable_pictures_of_a_set_are_counted(tmp_path: Path) -> None:
    eval_set = write_eval_set(tmp_path / "e.parquet", {"good": png(scene(1)), "bad": b"no picture"})
    counts, index = build_index(tmp_path, eval_set)
    assert dict(counts) == {"in": 2, "kept": 1, "dropped.undecodable": 1}
    assert index.keys == ["good"]


def test_the_index_file_is_the_same_each_time(tmp_path: Path) -> None:
    eval_set = write_eval_set(tmp_path / "e.parquet", {f"k{seed}": png(scene(seed)) for seed in range(3)})
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name, eval_set)
        files.append((tmp_path / name / "00000.parquet").read_bytes())
    assert files[0] == files[1]
    assert pq.read_schema(tmp_path / "a" / "00000.parquet").equals(INDEX)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"key": ["a"], "label": ["x"]}), "columns key, image, label; found only key, label"),
        (pa.table({"key": ["a"], "image": ["text"], "label": ["x"]}), "must hold encoded pictures"),
        (
            pa.table({"key": ["a", "a"], "image": [png(scene(1))] * 2, "label": ["x", "y"]}),
            "'a' is empty or occurs twice",
        ),
        (pa.table({"key": ["a"], "image": [b"no picture"], "label": ["x"]}), "no picture that can be decoded"),
    ],
)
def test_a_table_that_is_no_evaluation_set_is_an_input_error(tmp_path: Path, table: pa.Table, message: str) -> None:
    path = tmp_path / "e.parquet"
    pq.write_table(table, path)
    with pytest.raises(InputError, match=message):
        build_index(tmp_path, path)


def test_another_kind_of_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    path.write_bytes(b"key,image,label")
    with pytest.raises(InputError, match=r"e\.parquet: an evaluation set must be a parquet file"):
        build_index(tmp_path, path)
