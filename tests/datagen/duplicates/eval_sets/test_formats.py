from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.eval_sets import formats
from helpers.crawled import jpeg, png, scene, write_eval_set
from openwit.errors import InputError


def read_all(url: str) -> list[tuple[str, bytes, str]]:
    return [(e.key, e.data, e.label) for part in formats.partitions(url) for e in formats.read(part)]


def write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def write_folder(folder: Path, files: Mapping[str, bytes]) -> str:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def test_parquet_gives_its_rows_in_order(tmp_path: Path) -> None:
    path = write_eval_set(tmp_path / "e.parquet", {"a": png(scene(1)), "b": b"no image"})
    assert read_all(str(path)) == [("a", png(scene(1)), "A"), ("b", b"no image", "B")]


def test_parquet_of_many_rows_is_cut_into_partitions_that_leave_out_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "PART_IMAGES", 30)
    table = pa.table({"key": [f"k{n}" for n in range(100)], "image": [b"%d" % n for n in range(100)]})
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=17)
    parts = formats.partitions(str(tmp_path / "e.parquet"))
    assert [part[0].span for part in parts] == [(0, 30), (30, 60), (60, 90), (90, 100)]
    assert read_all(str(tmp_path / "e.parquet")) == [(f"k{n}", b"%d" % n, "") for n in range(100)]


def test_parquet_as_hugging_face_writes_it_has_rows_for_keys(tmp_path: Path) -> None:
    images = [{"bytes": png(scene(seed)), "path": None} for seed in (1, 2)]
    (tmp_path / "set").mkdir()
    for name in ("test-00000", "test-00001"):
        pq.write_table(pa.table({"image": images, "label": [0, 1]}), tmp_path / "set" / f"{name}.parquet")
    rows = read_all(str(tmp_path / "set"))
    assert [(key, label) for key, _, label in rows] == [
        ("test-00000.parquet/0", "0"), ("test-00000.parquet/1", "1"),
        ("test-00001.parquet/0", "0"), ("test-00001.parquet/1", "1"),
    ]  # fmt: skip
    assert rows[1][1] == png(scene(2))


def test_a_folder_gives_its_images_with_the_class_as_label(tmp_path: Path) -> None:
    files = {"cat/b.jpg": b"2", "cat/deep/a.PNG": b"1", "dog/x.webp": b"3", "top.jpeg": b"4"}
    noise = {"cat/notes.txt": b"", ".DS_Store": b"", "dog/._x.webp": b"", ".cache/y.jpg": b""}
    assert read_all(write_folder(tmp_path / "set", {**files, **noise})) == [
        ("cat/b.jpg", b"2", "cat"), ("cat/deep/a.PNG", b"1", "cat"),
        ("dog/x.webp", b"3", "dog"), ("top.jpeg", b"4", ""),
    ]  # fmt: skip


def test_a_folder_has_another_identity_when_an_image_changes_or_comes(tmp_path: Path) -> None:
    url = write_folder(tmp_path / "set", {"a/1.jpg": b"1", "a/2.jpg": b"2"})
    before = formats.partitions(url)
    assert formats.partitions(url) == before
    (tmp_path / "set" / "a" / "2.jpg").write_bytes(b"22")
    changed = formats.partitions(url)
    (tmp_path / "set" / "b.jpg").write_bytes(b"3")
    assert len({before[0][0].identity, changed[0][0].identity, formats.partitions(url)[0][0].identity}) == 3


def test_clip_benchmarks_layout_gives_class_names(tmp_path: Path) -> None:
    test = tmp_path / "wds_things" / "test"
    write_tar(test / "0.tar", {"s0.jpg": b"a", "s0.cls": b"1", "s1.cls": b"0", "s1.webp": b"b"})
    write_tar(test / "1.tar", {"s2.png": b"c", "s2.cls": b"7\n", "s3.json": b"{}"})
    (test / "nshards.txt").write_text("2\n")
    (tmp_path / "wds_things" / "classnames.txt").write_text("cat\ndog\n")
    parts = formats.partitions(str(test))
    assert [[entry.url.rpartition("/")[2] for entry in part] for part in parts] == [
        ["0.tar", "classnames.txt"], ["1.tar", "classnames.txt"],
    ]  # fmt: skip
    assert read_all(str(test)) == [("s0", b"a", "dog"), ("s1", b"b", "cat"), ("s2", b"c", "7")]


@pytest.mark.parametrize("pattern", ["{0..2}.tar", "*.tar", "0.tar::1.tar::2.tar", ""])
def test_tars_are_named_by_braces_stars_lists_or_their_folder(tmp_path: Path, pattern: str) -> None:
    for index in range(3):
        write_tar(tmp_path / f"{index}.tar", {f"k{index}.jpg": b"x", f"k{index}.txt": b"label"})
    url = "::".join(f"{tmp_path}/{name}" for name in pattern.split("::"))
    assert read_all(url) == [(f"k{index}", b"x", "label") for index in range(3)]


def test_stars_are_sorted_by_number(tmp_path: Path) -> None:
    for index in (10, 9, 1):
        write_tar(tmp_path / f"{index}.tar", {f"k{index}.jpg": b"x"})
    assert [key for key, _, _ in read_all(str(tmp_path))] == ["k1", "k9", "k10"]


def test_a_damaged_tar_is_an_input_error_that_names_it(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", {"a.jpg": jpeg(scene(1)), "b.jpg": jpeg(cv2.resize(scene(2), (256, 256)))})
    data = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(data[: len(data) // 4])
    with pytest.raises(InputError, match=r"0\.tar: is damaged"):
        read_all(str(tmp_path / "0.tar"))


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({}, "gone", r"gone: no such file"),
        ({"a.tar": b"x"}, "*.parquet", r"\*\.parquet: no such file"),
        ({"notes.txt": b""}, "", "holds no images"),
        ({"nshards.txt": b"two"}, "", r"nshards\.txt: expected the number of tars"),
        ({"nshards.txt": b"1"}, "", r"0\.tar: no such file"),
        ({"e.csv": b"key,image"}, "e.csv", "expected a parquet file, a tar or a folder of images"),
    ],
)
def test_what_is_no_evaluation_set_is_an_input_error(
    tmp_path: Path, files: dict[str, bytes], name: str, message: str
) -> None:
    write_folder(tmp_path / "set", files)
    with pytest.raises(InputError, match=message):
        read_all(f"{tmp_path}/set/{name}".rstrip("/"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"key": ["a"], "label": ["x"]}), "columns image, key, label; found only key, label"),
        (pa.table({"key": ["a"], "image": ["text"]}), r"must hold encoded images \(binary\), not string"),
    ],
)
def test_a_table_of_other_columns_is_an_input_error(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(InputError, match=message):
        formats.partitions(str(tmp_path / "e.parquet"))


def test_a_pipe_a_device_and_a_huge_file_among_the_images_are_images_without_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"A")
    os.mkfifo(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").symlink_to("/dev/zero")
    with (tmp_path / "d.jpg").open("wb") as file:
        file.truncate(8 << 30)
    found = {example.key: example.data for part in formats.partitions(str(tmp_path)) for example in formats.read(part)}
    assert found.pop("a.jpg") == b"A"
    assert set(found.values()) == {b""}


def test_a_sample_of_a_tar_that_cannot_be_used_is_an_image_without_bytes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("a.cls", tarfile.REGTYPE), ("b.jpg", tarfile.REGTYPE)):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/dev/zero" if kind == tarfile.SYMTYPE else ""
            tar.addfile(header)
    (part,) = formats.partitions(str(tmp_path / "x.tar"))
    assert [(example.key, example.data) for example in formats.read(part)] == [("a", b""), ("b", b"")]
