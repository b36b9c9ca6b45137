# mypy: disable-error-code="union-attr"
from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.crawl.finalize import canonicalise_table, canonicalise_tar, count_rows
from datagen.schemas import RETRIED

ROWS = {  # key: status, error, sha256; in the order of arrival
    "000070003": ("success", None, "b"),
    "000070000": ("success", None, "a"),
    "000070004": ("failed_to_resize", "image_too_large: 9x9", None),
    "000070002": ("success", None, "a"),
    "000070001": ("failed_to_download", "<urlopen error timed out>", None),
    "000070005": ("success", None, "a"),
}


def made(folder: Path) -> Path:
    path = folder / "made.parquet"
    columns = [list(column) for column in zip(*ROWS.values(), strict=True)]
    pq.write_table(pa.table([list(ROWS), *columns], names=["key", "status", "error_message", "sha256"]), path)
    return path


def test_messages_in_the_table_are_printable(tmp_path: Path) -> None:
    path = tmp_path / "made.parquet"
    said = ["http_404: \x1b[2J\x9b\u202eX", "\x07noai: x", None]
    table = {"key": ["0", "1", "2"], "status": ["failed", "failed", "success"], "error_message": said}
    pq.write_table(pa.table({**table, "sha256": pa.nulls(3, pa.string())}), path)
    canonical = canonicalise_table(path, tmp_path / "canonical.parquet")
    assert canonical["error_message"].to_pylist() == ["http_404: \ufffd[2J\ufffd\ufffdX", "\ufffdnoai: x", None]
    assert canonical["reason"].to_pylist() == ["http_404", "other", None]


def test_rows_stand_in_the_order_of_keys_with_their_reason_and_the_first_of_their_copies(tmp_path: Path) -> None:
    canonical = canonicalise_table(made(tmp_path), tmp_path / "canonical.parquet")
    assert canonical.equals(pq.read_table(tmp_path / "canonical.parquet"))
    assert canonical["key"].to_pylist() == sorted(ROWS)
    assert canonical["reason"].to_pylist() == [None, "timeout", None, None, "image_too_large", None]
    assert canonical["duplicate_of"].to_pylist() == [None, None, "000070000", None, None, "000070000"]
    assert canonical["retry_of"].null_count == 6
    assert count_rows(canonical) == {
        "in": 6,
        "kept": 4,
        "same_bytes": 2,
        "dropped.timeout": 1,
        "dropped.image_too_large": 1,
    }


def test_a_retrys_rows_name_those_that_they_take_the_place_of(tmp_path: Path) -> None:
    old = [f"{number:09d}" for number in range(6)]
    why = ["timeout", "dns"] * 3
    retries = pa.table([["u"] * 6, [[]] * 6, old, why], schema=RETRIED)
    canonical = canonicalise_table(made(tmp_path), tmp_path / "canonical.parquet", retries)
    assert canonical["retry_of"].to_pylist() == old
    counts = count_rows(canonical, retries)
    assert (counts["retried.timeout"], counts["retried.dns"], counts["in"]) == (3, 3, 6)


def test_a_tar_keeps_its_members_and_loses_its_times(tmp_path: Path) -> None:
    for name, order, time in (("one.tar", "bca", 5), ("two.tar", "cab", 9)):
        with tarfile.open(tmp_path / name, "w") as tar:
            for letter in order:
                header = tarfile.TarInfo(f"{letter}.txt")
                header.size, header.mtime, header.uname = 1, time, name
                tar.addfile(header, io.BytesIO(letter.encode()))
        canonicalise_tar(tmp_path / name, tmp_path / f"sealed_{name}")
    assert (tmp_path / "sealed_one.tar").read_bytes() == (tmp_path / "sealed_two.tar").read_bytes()
    with tarfile.open(tmp_path / "sealed_one.tar") as tar:
        assert [(m.name, tar.extractfile(m).read()) for m in tar] == [("a.txt", b"a"), ("b.txt", b"b"), ("c.txt", b"c")]
