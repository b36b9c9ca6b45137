# mypy: disable-error-code="arg-type"
from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.config import FileKind, SourcesConfig
from datagen.match.urls import kind_of, list_files, resolve_all
from openwit.errors import ConfigError, InputError
from openwit.urls import resolve

PIECES = st.sampled_from(
    ["http:", "https:", "HTTP:", "ftp:", "data:", "//", "/", "a", "b.jpg", "c-d", "x.test", "..", ".", "?", "#", ";",
     ":", "8080", "99999", "%20", "%2e", "%2E", "%", "\\", " ", "é", "\t", "\n", "\x00", "[", "]", "@", "&", "=", "-",
     "0x7f", "1.2"]
)  # fmt: skip
URLS = st.lists(PIECES, max_size=8).map("".join) | st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
BASES = st.one_of(
    st.just(""), URLS, URLS.map("http://h.test".__add__), URLS.map("https://h.test:80/a/b/".__add__)
)  # fmt: skip


def resolved(base: str, url: str) -> str | None:
    """By the array form, between others."""
    bases, urls = ["http://o.test/x/", base, base, ""], ["o", url, "http://o.test", "p"]
    found = resolve_all(pa.array(bases).dictionary_encode(), pa.array(urls))
    assert found.type == pa.string()
    assert [found[0].as_py(), found[3].as_py()] == ["http://o.test/x/o", "p"]
    answer: str | None = found[1].as_py()
    return answer


@settings(max_examples=1000, deadline=None)
@given(BASES, URLS)
def test_many_urls_are_resolved_as_each_is(base: str, url: str) -> None:
    assert resolved(base, url) == resolve(base, url)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("a.jpg", "http://s.test/dir/a.jpg"),
        ("/b.jpg", "http://s.test/b.jpg"),
        ("//c.test/c.jpg", "http://c.test/c.jpg"),
        ("https://d.test/d.jpg#x", "https://d.test/d.jpg"),
        ("../e.jpg", "http://s.test/e.jpg"),
        ("?f=1", "http://s.test/dir/page.html?f=1"),
        (" /g h.jpg\n", "http://s.test/g h.jpg"),
        ("http://[broken/i.jpg", None),
    ],
)
def test_relative_rooted_protocol_relative_and_absolute_urls_are_resolved(url: str, absolute: str | None) -> None:
    base = "http://s.test/dir/page.html?q=1#top"
    assert resolve(base, url) == resolved(base, url) == absolute


def test_no_urls_give_no_urls() -> None:
    assert len(resolve_all(pa.array([], pa.string()).dictionary_encode(), pa.array([], pa.string()))) == 0


def test_the_path_list_is_read_plain_and_gzipped_with_the_prefix(tmp_path: Path) -> None:
    text = b"crawl-data/a.warc.wat.gz\ncrawl-data/b.warc.wat.gz\ns3://commoncrawl/c.warc.wat.gz\n"
    (tmp_path / "wat.paths").write_bytes(text)
    (tmp_path / "wat.paths.gz").write_bytes(gzip.compress(text))
    expected = [
        "https://cc.test/crawl-data/a.warc.wat.gz",
        "https://cc.test/crawl-data/b.warc.wat.gz",
        "s3://commoncrawl/c.warc.wat.gz",
    ]
    for name in ("wat.paths", "wat.paths.gz"):
        config = SourcesConfig(wat_paths=str(tmp_path / name), wat_prefix="https://cc.test/")
        assert list_files(config) == expected
    assert list_files(SourcesConfig(wat_paths=str(tmp_path / "wat.paths"), max_files=1)) != expected[:1]


def test_patterns_are_expanded_in_order_and_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.parquet", "notes.txt"):
        (tmp_path / name).touch()
    files = (str(tmp_path / "c.parquet"), str(tmp_path / "*.csv"), str(tmp_path / "a.csv"))
    assert [Path(url).name for url in list_files(SourcesConfig(files=files))] == ["c.parquet", "a.csv", "b.csv"]
    assert [Path(url).name for url in list_files(SourcesConfig(files=files, max_files=2))] == ["c.parquet", "a.csv"]


def test_a_pattern_on_another_file_system_gives_its_urls() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/sources/1.parquet": b"x", "/sources/2.parquet": b"x"})
    found = list_files(SourcesConfig(files=("memory://sources/*.parquet",)))
    assert found == ["memory:///sources/1.parquet", "memory:///sources/2.parquet"]


@pytest.mark.parametrize(
    ("content", "found"), [(b"http://x.test/a.jpg\n", "'http://x.test/a.jpg'"), (b"", "'nothing'")]
)
def test_a_path_list_of_another_kind_is_refused_with_what_was_found(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(InputError, match=rf"expected lines that end in \.warc\.wat\.gz, found {found}"):
        list_files(SourcesConfig(wat_paths=str(tmp_path / "list")))


def test_a_damaged_path_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wat.paths.gz").write_bytes(gzip.compress(b"a.wat.gz\n" * 100)[:-10])
    with pytest.raises(InputError, match=r"wat\.paths\.gz: is damaged"):
        list_files(SourcesConfig(wat_paths=str(tmp_path / "wat.paths.gz")))


def test_no_files_and_patterns_without_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"give sources\.wat_paths"):
        list_files(SourcesConfig())
    with pytest.raises(InputError, match="no file matches"):
        list_files(SourcesConfig(files=(str(tmp_path / "*.csv"),)))


@pytest.mark.parametrize(
    ("name", "configured", "kind"),
    [
        ("x/CC-MAIN-1.warc.wat.gz", "csv", "wat"),
        ("x/part-00000-a.snappy.parquet", "auto", "parquet"),
        ("x/cc12m.tsv", "auto", "tsv"),
        ("x/Train-GCC.TSV.gz", "auto", "tsv"),
        ("x/cc12m.tsv", "csv", "csv"),
        ("x/a.jsonl.zst", "auto", "jsonl"),
        ("x/a.txt", "csv", "csv"),
    ],
)
def test_the_kind_is_what_the_name_says_unless_the_config_does(name: str, configured: FileKind, kind: str) -> None:
    assert kind_of(name, configured) == kind


def test_a_name_that_says_no_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x/a\.txt: of which kind\? .*--sources\.kind csv"):
        kind_of("x/a.txt", "auto")
