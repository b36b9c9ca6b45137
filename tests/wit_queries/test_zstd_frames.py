from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wit_queries.streams import DamagedInput, InputStream
from wit_queries.zstd_frames import MAX_WINDOW_BYTES, ZstdFrame

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
