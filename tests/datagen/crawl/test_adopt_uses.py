"""Shards that others made, as they come: every command uses every sample, and what one leaves out the others do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from helpers import adopted as shards
from helpers.crawled import png, scene, write_eval_set
from helpers.places import CASES
from openwit.errors import InputError
from pipelines.cli import main

NUM = 12


def twin(**columns: object) -> shards.Notes:
    """A user's columns: of each a value, or what makes one of the image's number."""
    return lambda number: {name: make(number) if callable(make) else make for name, make in columns.items()}


def every_other(value: object) -> object:
    return lambda number: value if number % 2 else None


PLAIN: shards.Notes = twin()
ODD = {
    "nan": (twin(similarity=lambda number: float("nan") if number % 2 else 0.3), str),
    "uid is a number": (twin(uid=lambda number: number), str),
    "uid is null": (twin(uid=every_other("u")), str),
    "uid is always the same": (twin(uid="u"), str),
    "captions as texts": (twin(captions=lambda number: [f"first {number}", f"second {number}"]), str),
    "captions as dicts": (twin(captions=lambda number: [{"caption": f"first {number}"}, {"text": "x"}]), str),
    "captions by language": (twin(captions=lambda number: {"en": f"first {number}", "de": "zwei"}), str),
    "dot": (PLAIN, lambda name: f"./{name}"),
    "folder": (PLAIN, lambda name: f"part.1/{name}"),
}
FOLDERS = {
    "data/10_adopt/i2d_nan": None,
    "data/10_adopt/i2d_uidint": None,
    "data/10_adopt/i2d_capslist": None,
    "data/11_adopt_dot": 20,
    "sources/min_adopt": 3,
    "train/img2dataset_columns/nan": 48,
    "train/img2dataset_columns/uidint": 48,
    "train/img2dataset_columns/uidnull": 48,
    "train/img2dataset_columns/captions": 48,
    "train/retarred/ds_store": 48,
    "train/retarred/appledouble": 48,
    "train/retarred/folders": 48,
}


def has_an_empty_caption(work: Path) -> bool:
    tables = [pq.read_table(path) for path in (work / "shards").glob("*.parquet")]
    return any(not caption for table in tables for caption in table["caption"].to_pylist())


def use_everything(work: Path, number: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command on the folder finds all of its images."""
    images = shards.adopted(work)
    assert number in (None, images)
    used, skipped, per_epoch = shards.trained(work)
    assert (len(used), per_epoch) == (images - skipped["text"], images)
    assert skipped.total() == skipped["text"] == (1 if has_an_empty_caption(work) else 0)
    assert shards.within(work).images == images
    rows = [row for path in sorted((work / "shards").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    texts = {row["key"]: json.dumps([row["caption"], row.get("captions")]) for row in rows}
    assert all(json.dumps(caption)[1:-1] in texts[key.rpartition("/")[2]] for key, caption in used.items())
    main(["stats", "demo", "--work", str(work), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], len(told["samples"]) > 0) == (images, True)
    assert told["pairs"] >= len(used)
    main(["train-tokenizer", "demo", "--work", str(work), "--tokenizer.captions", "shards"])
    assert f"{told['pairs']:,} captions read" in capsys.readouterr().err


@pytest.mark.parametrize("what", ODD)
def test_every_command_uses_every_sample_of_a_folder_with_odd_columns_or_names(
    tmp_path: Path, what: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    notes, name = ODD[what]
    shards.write_adopted(tmp_path, [range(NUM // 2), range(NUM // 2, NUM)], notes, name)  # type: ignore[arg-type]
    use_everything(tmp_path, NUM, capsys)


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not beside the checkout")
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_command_uses_every_sample_of_the_shared_cases(
    tmp_path: Path, folder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    use_everything(shards.copied(CASES / folder / "shards", tmp_path), FOLDERS[folder], capsys)


@pytest.mark.parametrize("what", ["plain", *ODD])
def test_what_overlaps_is_left_out_of_training_and_removed_to_the_image(tmp_path: Path, what: Any) -> None:
    notes, name = {"plain": (PLAIN, str), **ODD}[what]
    shards.write_adopted(tmp_path, [range(NUM // 2), range(NUM // 2, NUM)], notes, name)  # type: ignore[arg-type]
    shards.adopted(tmp_path)
    eval_set = write_eval_set(tmp_path / "e.parquet", {f"k{n}": png(scene(n)) for n in (1, 4, 9)})
    report = shards.overlap(tmp_path, eval_set)
    assert (report.images_checked, report.images_overlapping) == (NUM, 3)
    used, skipped, per_epoch = shards.trained(tmp_path)
    assert (len(used), skipped["excluded"], per_epoch) == (NUM - 3, 3, NUM - 3)
    removal = shards.remove_excluded(tmp_path)
    assert (removal.shards, removal.samples) == (2, 3)
    assert set(shards.trained(tmp_path)[0]) == set(used)
    assert len(used) == NUM - 3


def test_copies_are_left_out_as_many_as_are_told(tmp_path: Path) -> None:
    shards.write_adopted(tmp_path, [[*range(NUM)], [0, 1, 2, 20]])
    shards.adopted(tmp_path)
    found = shards.within(tmp_path)
    assert (found.images, found.copies, found.merged_captions) == (NUM + 4, 3, 0)
    used, skipped, per_epoch = shards.trained(tmp_path)
    assert (len(used), skipped["excluded"], per_epoch) == (NUM + 1, 3, NUM + 1)
    assert shards.remove_excluded(tmp_path).samples == 3


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not beside the checkout")
def test_the_shared_overlap_and_copies_are_left_out_exactly(tmp_path: Path) -> None:
    source = CASES / "train" / "adopted_overlap"
    work = shards.copied(source / "shards", tmp_path / "a")
    shards.adopted(work)
    report = shards.overlap(work, source / "planted.parquet")
    assert (report.images_checked, report.images_overlapping, report.excluded_uids) == (48, 10, 10)
    used, skipped, per_epoch = shards.trained(work)
    assert (len(used), skipped["excluded"], per_epoch) == (38, 10, 38)
    copies = shards.copied(source / "shards_with_copies", tmp_path / "b")
    images = shards.adopted(copies)
    assert shards.within(copies).copies == 6
    used, skipped, per_epoch = shards.trained(copies)
    assert (len(used), skipped["excluded"], per_epoch) == (images - 6, 6, images - 6)


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not beside the checkout")
def test_the_shared_folder_against_its_own_images_is_found_left_out_and_removed(tmp_path: Path) -> None:
    work = shards.copied(CASES / "sources" / "min_adopt" / "shards", tmp_path)
    shards.adopted(work)
    report = shards.overlap(work, CASES / "sources" / "min_adopt" / "eval.parquet")
    assert (report.images_overlapping, report.excluded_uids) == (2, 2)
    assert shards.trained(work)[1]["excluded"] == 2
    assert shards.remove_excluded(work).samples == 2


def test_a_tar_and_a_table_of_other_images_are_named_with_what_to_do(tmp_path: Path) -> None:
    shards.write_adopted(tmp_path, [range(4), range(4, 8), range(3)])
    folder = tmp_path / "shards"
    shutil.copy(folder / "00002.tar", folder / "00001.tar")
    shards.adopted(tmp_path)
    with pytest.raises(InputError, match=r"00001\.tar: holds 3 images, its table 4 .*run openwit adopt again"):
        shards.within(tmp_path)
    with pytest.raises(InputError, match=r"00001\.tar: holds 3 images, its table 4 .*run openwit adopt again"):
        shards.overlap(tmp_path, write_eval_set(tmp_path / "e.parquet", {"k": png(scene(1))}))
