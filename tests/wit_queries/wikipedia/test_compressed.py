from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.dumps import write_streams
from openwit.errors import InputError
from wit_queries.wikipedia.compressed import (
    CHUNK_BYTES,
    MAX_WINDOW_BYTES,
    DamagedInput,
    InputStream,
    ZstdFrame,
    file_facts,
)

Compress = Callable[[bytes], bytes]

DATA = os.urandom(700_000) + b"page" * 500_000
COMPRESS = {"bz2": bz2.compress, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress}
compressed = pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)


@pytest.mark.parametrize("compress", [bytes, *COMPRESS.values()], ids=["plain", *COMPRESS])
def test_data_comes_out_as_it_went_in(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "data"
    stored = compress(DATA)
    path.write_bytes(stored)
    stream = InputStream(str(path))
    assert b"".join(stream.chunks()) == DATA
    assert stream.facts() == {"name": "data", "bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}
    assert file_facts(str(path)) == stream.facts()


@compressed
def test_several_streams_end_to_end_are_one_file(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "data"
    path.write_bytes(compress(b"one ") + compress(b"") + compress(b"two") + b"\0" * 100)
    assert b"".join(InputStream(str(path)).chunks()) == b"one two"


@compressed
def test_little_data_that_swells_to_much_comes_in_bounded_chunks(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "data"
    path.write_bytes(compress(bytes(60_000_000)))
    tracemalloc.start()
    sizes = [len(chunk) for chunk in InputStream(str(path)).chunks()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 60_000_000
    assert max(sizes) <= CHUNK_BYTES
    assert peak < 20_000_000


@compressed
def test_a_cut_file_is_named_with_the_offset_of_its_end(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "cut"
    stored = compress(DATA)
    path.write_bytes(stored[: len(stored) // 2])
    with pytest.raises(InputError, match=rf"cut: ends at byte {len(stored) // 2} in the middle"):
        list(InputStream(str(path)).chunks())


@compressed
def test_damaged_data_is_named_with_its_place(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "bad"
    stored = compress(DATA)
    path.write_bytes(stored + b"<html>not compressed</html>")
    with pytest.raises(InputError, match=r"bad: damaged (bz2|gzip|zstd) data near byte \d+"):
        list(InputStream(str(path)).chunks())


@pytest.mark.parametrize(
    ("magic", "name"), [(b"7z\xbc\xaf\x27\x1c", "7z"), (b"\xfd7zXZ", "xz"), (b"PK\x03\x04", "zip")]
)
def test_compression_that_is_not_read_is_named(tmp_path: Path, magic: bytes, name: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(magic + b"...")
    with pytest.raises(InputError, match=f"is {name} data; expected plain, bz2, gzip or zstd"):
        list(InputStream(str(path)).chunks())


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such file"):
        list(InputStream(str(tmp_path / "none")).chunks())


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["bz2", "zstd", "gzip"])
def test_damage_in_the_middle_is_named_with_its_place(tmp_path: Path, kind: str, place: float) -> None:
    path = tmp_path / "bad"
    stored = bytearray(COMPRESS[kind](os.urandom(3_000_000)))  # type: ignore[operator]
    at = int(len(stored) * place)
    stored[at : at + 8] = bytes(8)
    path.write_bytes(stored)
    with pytest.raises(DamagedInput, match=rf"bad: damaged {kind} data near byte \d+ \(.*\); fetch it again"):
        list(InputStream(str(path)).chunks())


@compressed
def test_a_file_cut_anywhere_in_its_second_stream_is_never_taken_for_whole(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "cut"
    first, second = compress(b"one "), compress(b"two")
    for num_bytes in range(1, len(second)):
        path.write_bytes(first + second[:num_bytes])
        with pytest.raises(DamagedInput, match=f"cut: ends at byte {len(first) + num_bytes} in the middle"):
            list(InputStream(str(path)).chunks())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.binary(max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    span=st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted),
)
def test_a_span_of_a_bz2_file_is_the_streams_that_begin_in_it_and_then_what_follows(
    tmp_path: Path, text: bytes, cuts: list[int], span: list[int]
) -> None:
    path = tmp_path / "data.bz2"
    starts = write_streams(path, text, [min(place, len(text)) for place in cuts])
    texts = [
        bz2.decompress(path.read_bytes()[start:end]) for start, end in zip(starts, [*starts[1:], None], strict=True)
    ]
    begin, end = span
    stream = InputStream(str(path), (begin, end))
    read = [(chunk, stream.past_span) for chunk in stream.chunks()]
    own = b"".join(chunk for chunk, is_past in read if not is_past)
    after = b"".join(chunk for chunk, is_past in read if is_past)
    assert own == b"".join(t for start, t in zip(starts, texts, strict=True) if begin <= start < end)
    assert after in (b"", b"".join(t for start, t in zip(starts, texts, strict=True) if start >= max(begin, end)))
    if own and after:
        assert (b"", True) in read


def test_a_stream_that_is_damaged_at_its_start_is_not_skipped_by_its_span(tmp_path: Path) -> None:
    path = tmp_path / "data.bz2"
    _, second, third = write_streams(path, DATA, [1_000_000, 2_000_000])
    stored = bytearray(path.read_bytes())
    stored[second + 10 : second + 40] = bytes(30)
    path.write_bytes(stored)
    with pytest.raises(DamagedInput, match="damaged bz2 data"):
        list(InputStream(str(path), (second, third)).chunks())
    assert b"".join(InputStream(str(path), (third, len(stored))).chunks()) == DATA[2_000_000:]


TEXT = random.Random(1).randbytes(200_000) + b"page" * 200_000
SKIPPED = struct.pack("<II", 0x184D2A57, 5) + b"12345"


def read(data: bytes, step: int) -> tuple[list[bytes], bytes]:
    """The texts of a frame that comes `step` bytes at a time, and what was left."""
    frame, texts = ZstdFrame(), []
    for at in range(0, len(data), step):
        texts.append(frame.decompress(data[at : at + step], 1 << 20))
        while not frame.eof and not frame.needs_input:
            texts.append(frame.decompress(b"", 1 << 20))
        if frame.eof:
            return texts, frame.unused_data + data[at + step :]
    raise EOFError


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("size_known", [True, False])
@pytest.mark.parametrize("size", [0, 1, 200, 255, 256, 70_000, len(TEXT)])
def test_a_frame_of_any_header_comes_out_whole_and_leaves_what_follows(
    size: int, size_known: bool, checksum: bool
) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=size_known).compressobj(
        size=size if size_known else -1
    )
    data = compressor.compress(TEXT[:size]) + compressor.flush() + b"tail"
    for step in (1, 1000, len(data)) if size < 1000 else (5000, len(data)):
        texts, rest = read(data, step)
        assert b"".join(texts) == TEXT[:size]
        assert rest == b"tail"


def test_a_frame_that_swells_comes_a_block_at_a_time() -> None:
    texts, _ = read(zstandard.compress(bytes(50_000_000)), 1 << 20)
    assert sum(map(len, texts)) == 50_000_000
    assert max(map(len, texts)) <= 128 << 10


def test_a_frame_of_the_largest_window_is_read() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31, enable_ldm=True)
    assert 1 << parameters.window_log == MAX_WINDOW_BYTES
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = compressor.compress(TEXT) + compressor.flush()
    assert zstandard.get_frame_parameters(data).window_size == MAX_WINDOW_BYTES
    assert b"".join(read(data, 1 << 20)[0]) == TEXT


def test_frames_and_skippable_frames_in_any_order_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "data.zst"
    path.write_bytes(SKIPPED + zstandard.compress(b"one ") + SKIPPED + SKIPPED + zstandard.compress(b"two") + SKIPPED)
    assert b"".join(InputStream(str(path)).chunks()) == b"one two"


def test_a_skippable_frame_that_is_cut_is_not_the_end(tmp_path: Path) -> None:
    path = tmp_path / "data.zst"
    path.write_bytes(zstandard.compress(b"one ") + SKIPPED[:-1])
    with pytest.raises(DamagedInput, match="in the middle of its zstd data"):
        list(InputStream(str(path)).chunks())


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(1, 255), st.integers(1, 50))
def test_a_changed_byte_is_an_error_or_changes_nothing(text: bytes, place: int, change: int, step: int) -> None:
    data = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(text))
    data[place % len(data)] ^= change
    rest, found = bytes(data), b""
    try:
        while rest:
            texts, rest = read(rest, step)
            found += b"".join(texts)
    except (zstandard.ZstdError, EOFError):
        return
    assert found == text
