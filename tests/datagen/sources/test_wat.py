from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from datagen.sources import wat
from helpers.pairs import image_link, raw_record, wat_record
from openwit.errors import InputError

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "warc"


def read(path: Path, data: bytes) -> tuple[list[wat.Candidate], Counter[str]]:
    path.write_bytes(data)
    counts: Counter[str] = Counter()
    return list(wat.read_candidates(str(path), counts)), counts


def test_relative_root_relative_protocol_relative_and_absolute_urls_are_resolved(tmp_path: Path) -> None:
    links = [
        image_link(url, "a cat") for url in ("a.jpg", "/b.jpg", "//c.test/c.jpg", "https://d.test/d.jpg#x", "../e.jpg")
    ]
    found, _ = read(tmp_path / "x.wat.gz", wat_record("http://site.test/dir/page.html", links))
    assert [candidate.url for candidate in found] == [
        "http://site.test/dir/a.jpg",
        "http://site.test/b.jpg",
        "http://c.test/c.jpg",
        "https://d.test/d.jpg",
        "http://site.test/e.jpg",
    ]


def test_a_base_element_comes_before_the_page_address(tmp_path: Path) -> None:
    data = wat_record("http://site.test/page", [image_link("a.jpg", "x")], base="/media/")
    found, _ = read(tmp_path / "x.wat.gz", data)
    assert found[0].url == "http://site.test/media/a.jpg"


def test_entities_are_decoded_and_white_space_is_one_space(tmp_path: Path) -> None:
    found, _ = read(
        tmp_path / "x.wat.gz", wat_record("http://s.test/", [image_link("a.jpg", " Tom &amp;\n Jerry&#39;s ")])
    )
    assert found[0].caption == "Tom & Jerry's"


def test_data_uris_other_schemes_and_impossible_urls_carry_their_reason(tmp_path: Path) -> None:
    urls = ("data:image/gif;base64,R0", "ftp://s.test/a.jpg", "http://[broken/a.jpg")
    found, _ = read(tmp_path / "x.wat.gz", wat_record("http://s.test/", [image_link(url, "x") for url in urls]))
    assert [candidate.reason for candidate in found] == ["data_uri", "not_http", "bad_url"]


def test_links_that_are_no_images_are_no_candidates(tmp_path: Path) -> None:
    links = [{"path": "A@/href", "url": "a.html", "text": "IMG@/src"}, image_link("a.jpg")]
    found, _ = read(tmp_path / "x.wat.gz", wat_record("http://s.test/", links))
    assert [(candidate.url, candidate.caption) for candidate in found] == [("http://s.test/a.jpg", "")]


def test_a_damaged_record_is_counted_and_the_rest_of_the_file_kept(tmp_path: Path) -> None:
    good = wat_record("http://s.test/", [image_link("a.jpg", "x")])
    data = good + raw_record("http://s.test/2", b'{"Envelope": IMG@/src') + good
    found, counts = read(tmp_path / "x.wat.gz", data)
    assert len(found) == 2
    assert counts["records_damaged"] == 1


def test_records_with_missing_keys_yield_nothing(tmp_path: Path) -> None:
    body = json.dumps({"Envelope": {"Payload-Metadata": {}, "note": "IMG@/src"}}).encode()
    found, counts = read(tmp_path / "x.wat.gz", raw_record("http://s.test/", body))
    assert found == []
    assert counts["records_damaged"] == 0


def test_a_truncated_file_keeps_all_before_the_damage_and_says_so(tmp_path: Path) -> None:
    one = wat_record("http://s.test/", [image_link("a.jpg", "x")])
    found, counts = read(tmp_path / "x.wat.gz", one + one + one[: len(one) // 2])
    assert len(found) == 2
    assert counts["files_truncated"] == 1


def test_a_file_without_records_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.wat\.gz: no WAT record"):
        read(tmp_path / "x.wat.gz", gzip.compress(b"hello"))


def test_the_path_list_is_read_plain_and_gzipped_with_the_prefix(tmp_path: Path) -> None:
    text = b"crawl-data/a.warc.wat.gz\ncrawl-data/b.warc.wat.gz\n"
    (tmp_path / "wat.paths").write_bytes(text)
    (tmp_path / "wat.paths.gz").write_bytes(gzip.compress(text))
    expected = ["https://cc.test/crawl-data/a.warc.wat.gz", "https://cc.test/crawl-data/b.warc.wat.gz"]
    assert wat.list_files(str(tmp_path / "wat.paths"), "https://cc.test/", None) == expected
    assert wat.list_files(str(tmp_path / "wat.paths.gz"), "https://cc.test/", 1) == expected[:1]


def test_a_path_list_of_another_kind_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("http://x.test/a.jpg\n")
    with pytest.raises(InputError, match=r"expected lines that end in \.warc\.wat\.gz, found 'http://x\.test/a\.jpg'"):
        wat.list_files(str(tmp_path / "list"), "", None)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real WAT file is not on this machine")
def test_a_real_common_crawl_excerpt_is_read() -> None:
    counts: Counter[str] = Counter()
    found = list(wat.read_candidates(str(SHARED / "whirlwind.warc.wat.gz"), counts))
    assert counts["records"] >= 1
    assert counts["records_damaged"] == 0
    assert all(candidate.url.startswith("http") or candidate.reason for candidate in found)
