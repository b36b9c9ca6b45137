from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from openwit import manifest as manifests
from openwit.errors import InputError
from openwit.manifest import Manifest, Part, PartFile


def part(index: int, sha256: str = "aa") -> Part:
    name = f"{index:05d}"
    files = (PartFile(name=f"{name}.parquet", bytes=3, sha256=sha256), PartFile(name=f"{name}.tar", bytes=9, sha256=""))
    return Part(index=index, key="k", rows=2, files=files, counts={"in": 3, "kept": 2, "dropped.short": 1})


def example() -> Manifest:
    return Manifest(
        stage="match", version=3, config={"cap": 20_000, "mode": "words"}, inputs={"wat": "x"}, parts=(part(0), part(1))
    )


def test_what_is_written_is_read_back_and_equal_manifests_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        manifests.write(str(tmp_path / name), example())
        assert manifests.read(str(tmp_path / name)) == example()
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()


def test_counts_and_rows_are_those_of_all_partitions_added_up() -> None:
    assert example().counts == {"in": 6, "kept": 4, "dropped.short": 2}
    assert example().rows == 4


def test_the_digest_follows_the_files_and_nothing_else() -> None:
    same = replace(example(), recipe="other", config={}, inputs={})
    assert same.digest == example().digest
    assert replace(example(), parts=(part(0), part(1, "bb"))).digest != example().digest
    assert replace(example(), parts=(part(0),)).digest != example().digest


def test_a_partitions_file_is_found_by_its_suffix_or_the_error_lists_what_there_is() -> None:
    assert part(1).file(".tar").name == "00001.tar"
    with pytest.raises(InputError, match=r"partition 00001 has no \.json file, only .*00001\.tar"):
        part(1).file(".json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"stage": "\xff"}', b"\x00" * 40])
def test_a_damaged_manifest_is_one_line_that_names_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    with pytest.raises(InputError) as caught:
        manifests.read(str(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/manifest.json: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_manifest_is_one_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        manifests.read(str(tmp_path))
