# mypy: disable-error-code="arg-type, attr-defined, union-attr, var-annotated"
from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from helpers.crawled import Fetched, write_shards
from helpers.shards import add_member
from openwit.errors import InputError
from openwit.shards import read_images, read_samples
from openwit.shards.notes import place_uid
from openwit.shards.samples import TarSample, Unusable, scan_tar, split_name
from openwit.shards.tar import BLOCK, BufferPool
from train.data.order import draw


def tar_of(samples: int, format: Any = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for key, members in samples:
            for extension, content in members.items():
                add_member(tar, f"{key}.{extension}", content)
    return buffer.getvalue()


def samples_of(data: bytes, start: int = 0) -> Any:
    return list(scan_tar(io.BytesIO(data), start))


PAIRS = [(f"{n:04d}", {"jpg": bytes([n]) * (1400 * n + 1), "txt": b"a caption", "json": b"{}"}) for n in range(5)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_it_reads_what_tarfile_wrote_in_any_format_also_with_long_names(format: Any) -> None:
    folder = "f" * 90 + "/" + "g" * 60
    pairs = [(f"{folder}/{key}", members) for key, members in PAIRS]
    assert samples_of(tar_of(pairs, format)) == [TarSample(key, members) for key, members in pairs]


def test_the_first_use_of_a_sample_draws_by_its_key_and_each_further_one_by_its_own_mark() -> None:
    marks = [TarSample("k", {}, copy).mark for copy in range(3)]
    assert marks[0] == "k"
    assert len({draw("crop", 0, 0, mark) for mark in marks}) == 3


def test_larger_members_lie_in_buffers_of_the_pool_and_say_the_same() -> None:
    pairs = [
        (f"{n:04d}", {"jpg": draw("x", n).to_bytes(8, "little") * (600 * n + 1), "txt": b"words"}) for n in range(5)
    ]
    samples = list(scan_tar(io.BytesIO(tar_of(pairs)), 0, BufferPool()))
    assert samples == [TarSample(key, members) for key, members in pairs]
    assert [type(sample.members["jpg"]) for sample in samples] == [bytes, *[memoryview] * 4]


@pytest.mark.parametrize("start", range(6))
def test_it_starts_at_any_sample(start: int) -> None:
    assert samples_of(tar_of(PAIRS), start) == [TarSample(key, members) for key, members in PAIRS[start:]]


def test_an_empty_archive_has_no_samples_and_an_empty_file_is_broken() -> None:
    assert samples_of(tar_of([])) == []
    (only,) = samples_of(b"")
    assert isinstance(only, Unusable)
    assert only.reason == "tar"


@settings(deadline=None)
@given(st.integers(0, 20_000), st.booleans())
def test_a_tar_cut_inside_a_member_gives_whole_samples_then_its_damage(length: int, is_pooled: Any) -> None:
    data = tar_of(PAIRS)
    assume(length not in member_ends(data))
    pool = BufferPool() if is_pooled else None
    *whole, last = scan_tar(io.BytesIO(data[:length] if length < 14_000 else data), 0, pool)
    expected = [TarSample(key, members) for key, members in PAIRS]
    assert whole == expected[: len(whole)]
    assert isinstance(last, Unusable) == (length < 14_000)


def member_ends(data: bytes) -> list[int]:
    """Where a member of the tar is over, its padding included."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.offset_data + -(-member.size // BLOCK) * BLOCK for member in tar]


def test_a_tar_without_its_end_of_archive_blocks_is_whole_as_tarfile_reads_it() -> None:
    data = tar_of(PAIRS)
    expected = [TarSample(key, members) for key, members in PAIRS]
    assert samples_of(data[: member_ends(data)[-1]]) == expected
    assert samples_of(data[: member_ends(data)[0]])[0].key == PAIRS[0][0]


@settings(deadline=None)
@given(st.integers(0, BLOCK - 1), st.integers(1, 255))
def test_a_header_of_which_one_byte_is_wrong_is_damage(place: int, change: int) -> None:
    data = bytearray(tar_of(PAIRS))
    (at,) = (n for n in range(0, len(data), BLOCK) if data[n:].startswith(b"0002.jpg"))
    data[at + place] ^= change
    if 148 <= place < 156:  # the sum itself, which may be written in several ways
        return
    *whole, last = samples_of(bytes(data))
    assert whole == [TarSample(key, members) for key, members in PAIRS[:1]]  # the next may have lost a member
    assert last == Unusable("0001", "tar", f"no tar header at byte {at}")


def test_a_member_of_less_than_no_bytes_is_damage() -> None:
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"-0000001000\0"
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * ord(" "))
    assert samples_of(bytes(header) * 3) == [Unusable("", "tar", "member of -512 bytes at byte 0")]


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_garbage_is_damage_and_never_an_error(data: Any) -> None:
    items = samples_of(tar_of(PAIRS[:2])[: 512 * 4] + data)
    assert all(isinstance(item, TarSample | Unusable) for item in items)


def write_tar(path: Path, members: dict[str, bytes]) -> str:
    path.write_bytes(
        tar_of([(name.partition(".")[0], {name.partition(".")[2]: data}) for name, data in members.items()])
    )
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
    found = [(image.key, image.data, image.record.uids) for image in read_images(url)]
    assert found == [("a", b"A", [place_uid("x", "a", "")]), ("c", b"C", [place_uid("x", "c", "")])]


def test_damage_is_named_after_the_samples_before_it(tmp_path: Path) -> None:
    (tmp_path / "y.tar").write_bytes(tar_of(PAIRS)[:5000])
    found = []
    with pytest.raises(InputError, match=r"y\.tar: is damaged \(ends at byte 5000"):
        found += (sample.key for sample in read_samples(str(tmp_path / "y.tar")))
    (tmp_path / "y.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(InputError, match=r"y\.tar: is damaged"):
        list(read_images(str(tmp_path / "y.tar")))
    with pytest.raises(InputError, match=r"z\.tar: no such file"):
        list(read_samples(str(tmp_path / "z.tar")))


@pytest.mark.parametrize("packed", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_read_and_its_damage_is_named(tmp_path: Path, packed: Any) -> None:
    data = packed(tar_of(PAIRS))
    (tmp_path / "x.tar").write_bytes(data)
    assert list(read_samples(str(tmp_path / "x.tar"))) == [TarSample(key, members) for key, members in PAIRS]
    (tmp_path / "x.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"x\.tar: is damaged"):
        list(read_samples(str(tmp_path / "x.tar")))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("0.jpg", ("0", "jpg")),
        ("./0.jpg", ("0", "jpg")),
        (".//./a/0.JPG", ("a/0", "jpg")),
        ("part.1/0.seg.PNG", ("part.1/0", "seg.png")),
        ("/data/0.txt", ("/data/0", "txt")),
        ("../0.txt", ("../0", "txt")),
        ("a/b", None),
        ("a/", None),
        ("./._0.jpg", None),
        ("a/.DS_Store", None),
        ("__MACOSX/a/0.jpg", None),
        ("a__MACOSX/0.jpg", ("a__MACOSX/0", "jpg")),
    ],
)
def test_a_name_is_folder_and_stem_up_to_the_first_dot_then_the_suffix(name: str, found: Any) -> None:
    assert split_name(name) == found


def special(name: str, kind: bytes, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, "0000.jpg" if kind in b"12" else "", size
    return info.tobuf(tarfile.GNU_FORMAT)


def files(key: str, **members: bytes) -> bytes:
    return tar_of([(key, members)])[: sum(BLOCK + -(-len(content) // BLOCK) * BLOCK for content in members.values())]


GOOD = files("0000", jpg=b"0", txt=b"words"), files("0002", jpg=b"2", txt=b"words") + bytes(2 * BLOCK)
TEXT = {"json": b"{}", "txt": b"words"}
SPARSE_MAP = special("0001.jpg", tarfile.GNUTYPE_SPARSE, 3)


def with_map_behind(header: bytes) -> bytes:
    """Of an old sparse member whose map goes on in two more blocks, each of which says whether there is another."""
    first = bytearray(header)
    first[482] = 1
    first[148:156] = b"%06o\0 " % (sum(first) - sum(first[148:156]) + 8 * ord(" "))
    more = bytearray(BLOCK)
    more[504] = 1
    return bytes(first) + bytes(more) + bytes(BLOCK) + b"abc".ljust(BLOCK, b"\0")


BAD = {
    "link": special("0001.jpg", tarfile.SYMTYPE) + files("0001", **TEXT),
    "hard link": files("0001", **TEXT) + special("0001.jpg", tarfile.LNKTYPE),
    "device": special("0001.jpg", tarfile.CHRTYPE) + files("0001", **TEXT),
    "fifo": special("0001.jpg", tarfile.FIFOTYPE, 8 << 30) + files("0001", **TEXT),
    "folder": special("0001.jpg", tarfile.DIRTYPE) + files("0001", **TEXT),
    "sparse": with_map_behind(SPARSE_MAP) + files("0001", **TEXT),
    "special": special("0001.jpg", b"M", 3) + b"abc".ljust(BLOCK, b"\0") + files("0001", **TEXT),
    "empty": files("0001", jpg=b"", **TEXT),
    "no_image": files("0001", **TEXT),
}
REASONS = {"hard link": "link", "fifo": "device", "folder": "no_image"}


@pytest.mark.parametrize("what", BAD)
def test_a_sample_that_cannot_be_used_is_counted_in_its_place_and_no_other_suffers(what: Any, tmp_path: Path) -> None:
    items = samples_of(GOOD[0] + BAD[what] + GOOD[1])
    assert [item.key for item in items] == ["0000", "0001", "0002"]
    assert [getattr(item, "reason", "") for item in items] == ["", REASONS.get(what, what), ""]
    assert samples_of(GOOD[0] + BAD[what] + GOOD[1], 2) == items[2:]
    skipped = Counter[str]()
    (tmp_path / "x.tar").write_bytes(GOOD[0] + BAD[what] + GOOD[1])
    assert [sample.key for sample in read_samples(str(tmp_path / "x.tar"), skipped)] == ["0000", "0002"]
    assert skipped == {REASONS.get(what, what): 1}


@pytest.mark.parametrize("suffix", ["jpg", "json", "txt"])
def test_a_member_of_8_gb_is_passed_over_without_being_read(suffix: str, tmp_path: Path) -> None:
    size = 8 << 30
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(GOOD[0] + files("0001", **{other: b"x" for other in ("jpg", "json", "txt") if other != suffix}))
        file.write(special(f"0001.{suffix}", tarfile.REGTYPE, size))
        file.seek(size, io.SEEK_CUR)
        file.write(GOOD[1])
    with (tmp_path / "x.tar").open("rb") as file:
        items = list(scan_tar(file))
    assert [(item.key, getattr(item, "reason", "")) for item in items] == [
        ("0000", ""),
        ("0001", "too_large"),
        ("0002", ""),
    ]


def test_links_and_folders_between_the_members_of_a_sample_change_nothing() -> None:
    between = special("x.jpg", tarfile.SYMTYPE) + special("d", tarfile.DIRTYPE) + special("y.txt", tarfile.LNKTYPE)
    data = files("0001", jpg=b"1") + between + files("0001", txt=b"words") + bytes(2 * BLOCK)
    assert samples_of(data) == [TarSample("0001", {"jpg": b"1", "txt": b"words"})]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_long_name_of_a_folder_is_not_that_of_the_next_file(form: Any) -> None:
    folder = tarfile.TarInfo("d" * 150)
    folder.type = tarfile.DIRTYPE
    data = folder.tobuf(form) + files("0001", jpg=b"1") + bytes(2 * BLOCK)
    assert samples_of(data) == [TarSample("0001", {"jpg": b"1"})]


@pytest.mark.parametrize("damage", [b"99 path=", b"x", b"11 path=abc", b"0 a=b\n", b"9999999999999 a=b\n", b"5 a\n\n"])
def test_a_damaged_pax_header_costs_its_own_sample_only(damage: bytes) -> None:
    head = special("./PaxHeaders/0001.jpg", tarfile.XHDTYPE, len(damage)) + damage.ljust(BLOCK, b"\0")
    data = GOOD[0] + head + files("0001", jpg=b"1", **TEXT) + GOOD[1]
    assert [(item.key, getattr(item, "reason", "")) for item in samples_of(data)] == [
        ("0000", ""),
        ("0001", "header"),
        ("0002", ""),
    ]


def test_names_that_are_no_utf8_stay_apart() -> None:
    data = files("a", jpg=b"1", txt=b"one") + files("b", jpg=b"2", txt=b"two") + bytes(2 * BLOCK)
    for name, odd in ((b"a.", b"\xe4."), (b"b.", b"\xf6.")):
        for place in [n for n in range(0, len(data), BLOCK) if data[n : n + 2] == name]:
            block = bytearray(data[place : place + BLOCK])
            block[:2] = odd
            block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * ord(" "))
            data = data[:place] + bytes(block) + data[place + BLOCK :]
    assert samples_of(data) == [
        TarSample(r"\xe4", {"jpg": b"1", "txt": b"one"}),
        TarSample(r"\xf6", {"jpg": b"2", "txt": b"two"}),
    ]


def test_a_key_that_comes_again_is_another_sample_and_files_without_an_image_are_none() -> None:
    members = {"jpg": b"1", "txt": b"one"}
    data = tar_of([("README", {"txt": b"hello"}), ("a", members), ("a", members | {"txt": b"two"})])
    assert samples_of(data) == [TarSample("a", members), TarSample("a", {"jpg": b"1", "txt": b"two"})]
