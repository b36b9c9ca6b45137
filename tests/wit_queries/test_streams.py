from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import tracemalloc
from pathlib import Path

import pytest

from openwit.errors import InputError
from wit_queries.streams import CHUNK_BYTES, InputStream

DATA = os.urandom(700_000) + b"page" * 500_000


@pytest.mark.parametrize("stored", [DATA, bz2.compress(DATA), gzip.compress(DATA)], ids=["plain", "bz2", "gzip"])
def test_data_comes_out_as_it_went_in(tmp_path: Path, stored: bytes) -> None:
    path = tmp_path / "data"
    path.write_bytes(stored)
    stream = InputStream(str(path))
    assert b"".join(stream.chunks()) == DATA
    assert stream.facts() == {"name": "data", "bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress], ids=["bz2", "gzip"])
def test_several_streams_end_to_end_are_one_file(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / "data"
    path.write_bytes(compress(b"one ") + compress(b"") + compress(b"two") + b"\0" * 100)
    assert b"".join(InputStream(str(path)).chunks()) == b"one two"


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress], ids=["bz2", "gzip"])
def test_little_data_that_swells_to_much_comes_in_bounded_chunks(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / "data"
    path.write_bytes(compress(bytes(60_000_000)))
    tracemalloc.start()
    sizes = [len(chunk) for chunk in InputStream(str(path)).chunks()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 60_000_000
    assert max(sizes) <= CHUNK_BYTES
    assert peak < 20_000_000


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress], ids=["bz2", "gzip"])
def test_a_cut_file_is_named_with_the_offset_of_its_end(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / "cut"
    stored = compress(DATA)
    path.write_bytes(stored[: len(stored) // 2])
    with pytest.raises(InputError, match=rf"cut: ends at byte {len(stored) // 2} in the middle"):
        list(InputStream(str(path)).chunks())


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress], ids=["bz2", "gzip"])
def test_damaged_data_is_named_with_its_place(tmp_path: Path, compress: object) -> None:
    assert callable(compress)
    path = tmp_path / "bad"
    stored = compress(DATA)
    path.write_bytes(stored + b"<html>not compressed</html>")
    with pytest.raises(InputError, match=r"bad: damaged (bz2|gzip) data near byte \d+"):
        list(InputStream(str(path)).chunks())


@pytest.mark.parametrize(
    ("magic", "name"), [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"PK\x03\x04", "zip")]
)
def test_compression_that_is_not_read_is_named(tmp_path: Path, magic: bytes, name: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(magic + b"...")
    with pytest.raises(InputError, match=f"is {name} data; expected plain, bz2 or gzip"):
        list(InputStream(str(path)).chunks())


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such file"):
        list(InputStream(str(tmp_path / "none")).chunks())
