from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from helpers.crawled import Fetched, write_shards
from openwit.errors import InputError
from openwit.shards.samples import read_images


def write_tar(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return str(path)


def test_each_image_comes_with_every_uid_that_shows_it(tmp_path: Path) -> None:
    write_shards(tmp_path, [[Fetched("http://a.test/1", b"one", ("x", "y")), Fetched("http://a.test/2", b"two")]])
    images = list(read_images(str(tmp_path / "00000.tar")))
    assert [(p.key, p.data, p.record.url) for p in images] == [
        ("000000000", b"one", "http://a.test/1"),
        ("000000001", b"two", "http://a.test/2"),
    ]
    assert [len(p.record.uids) for p in images] == [2, 1]


def test_other_formats_and_samples_without_a_record_or_an_image(tmp_path: Path) -> None:
    url = write_tar(tmp_path / "x.tar", {"a.webp": b"A", "b.txt": b"no image", "c.png": b"C", "c.json": b"{}"})
    assert [(p.key, p.data, p.record.uids) for p in read_images(url)] == [("a", b"A", []), ("c", b"C", [])]


def test_damage_is_named(tmp_path: Path) -> None:
    url = write_tar(tmp_path / "x.tar", {"a.jpg": b"A", "a.json": b"{cut"})
    with pytest.raises(InputError, match=r"x\.tar: a\.json is damaged"):
        list(read_images(url))
    (tmp_path / "y.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(InputError, match=r"y\.tar: is damaged"):
        list(read_images(str(tmp_path / "y.tar")))
