from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import IndexConfig
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.fingerprints import pixels_sha256
from datagen.duplicates.index.fingerprint import INDEX, build, set_digest, views_of
from helpers.crawled import jpeg, png, scene, write_eval_set
from openwit.errors import InputError
from openwit.images import decode
from openwit.stage import Counts, Source, Target


def build_index(folder: Path, eval_set: Path, crop: float = 0.03) -> Counts:
    (part,) = formats.partitions(str(eval_set))
    return build(IndexConfig(name="things", crop=crop), Source(index=0, inputs={"eval_set": part}), Target(0, folder))


def test_each_image_is_known_by_its_bytes_pixels_and_sixteen_views(tmp_path: Path) -> None:
    build_index(tmp_path, write_eval_set(tmp_path / "e.parquet", {"k": png(scene(1))}))
    (row,) = pq.read_table(tmp_path / "00000.parquet").to_pylist()
    assert (row["eval_set"], row["eval_key"], row["label"]) == ("things", "k", "K")
    assert row["sha256"] == hashlib.sha256(png(scene(1))).hexdigest()
    assert row["pixels"] == pixels_sha256(png(scene(1)))
    assert [len(row[name]) for name in ("hash64", "reliable64", "hash256", "reliable256", "colors")] == [
        16 * 8, 16 * 8, 16 * 32, 16 * 32, 16 * 32,
    ]  # fmt: skip
    assert max(decode(row["shown"]).shape) == 128


def test_without_a_crop_there_is_one_view() -> None:
    assert len(views_of(scene(1), 0.0)) == 1
    assert len(views_of(scene(1), 0.03)) == 16


def test_undecodable_images_of_a_set_are_counted(tmp_path: Path) -> None:
    eval_set = write_eval_set(tmp_path / "e.parquet", {"good": png(scene(1)), "bad": b"no image", "empty": b""})
    assert dict(build_index(tmp_path, eval_set)) == {"in": 3, "kept": 1, "dropped.undecodable": 2}
    assert pq.read_table(tmp_path / "00000.parquet")["eval_key"].to_pylist() == ["good"]


def test_the_index_file_is_the_same_each_time(tmp_path: Path) -> None:
    eval_set = write_eval_set(tmp_path / "e.parquet", {f"k{seed}": png(scene(seed)) for seed in range(3)})
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_index(tmp_path / name, eval_set)
        files.append((tmp_path / name / "00000.parquet").read_bytes())
    assert files[0] == files[1]
    assert pq.read_schema(tmp_path / "a" / "00000.parquet").equals(INDEX)


def test_the_sets_digest_differs_with_a_key_a_byte_and_an_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    good = {"a": jpeg(scene(1)), "b": jpeg(scene(2))}
    sets = [good, good, {"a": good["a"], "c": good["b"]}, {**good, "b": jpeg(scene(2), 80)}, {**good, "x": b"bad"}]
    digests = []
    for number, images in enumerate(sets):
        folder = tmp_path / str(number)
        folder.mkdir()
        build_index(folder, write_eval_set(folder / "e.parquet", images))
        digests.append(set_digest([str(folder / "00000.parquet")]))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


@pytest.mark.parametrize("keys", [["a", "a"], ["", "b"], [None, "b"]])
def test_a_key_that_is_empty_or_occurs_twice_is_an_input_error(tmp_path: Path, keys: list[str | None]) -> None:
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"key": pa.array(keys, pa.string()), "image": [png(scene(1))] * 2}), path)
    with pytest.raises(InputError, match="is empty or occurs twice"):
        build_index(tmp_path, path)
