from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest

from openwit.errors import InputError
from wit_queries.wikipedia.compressed import InputStream
from wit_queries.wikipedia.dump import WikiSite
from wit_queries.wikipedia.page_views import page_title, read_views

LINES = [
    "de Katze 900 0",
    "en Apollo_(god) 30 0",
    "en Caf%C3%A9 60 0",
    "en Rare 3 0",
    "en Special:Search 5000 0",
    "en anarchism 70 0",
    "en.m Apollo_(god) 25 0",
]


def hour(tmp_path: Path, lines: list[str]) -> InputStream:
    path = tmp_path / "pageviews-20260101-000000.gz"
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return InputStream(str(path))


def test_an_hour_keeps_its_project_s_titles_with_enough_views_on_desktop_and_mobile(tmp_path: Path) -> None:
    table, counts = read_views(hour(tmp_path, LINES), ("en", "en.m"), 50, WikiSite())
    assert table.to_pylist() == [
        {"title": "Anarchism", "views": 70},
        {"title": "Apollo (god)", "views": 55},
        {"title": "Café", "views": 60},
    ]
    dropped = {"dropped.project": 1, "dropped.namespace": 1, "dropped.hourly_views": 1, "dropped.same_title": 1}
    assert counts == {"in": 7, "kept": 3, **dropped}


def test_a_title_with_exactly_so_many_views_in_an_hour_is_kept(tmp_path: Path) -> None:
    table, counts = read_views(hour(tmp_path, ["en Cat 50 0", "en Dog 49 0"]), ("en",), 50, WikiSite())
    assert table["title"].to_pylist() == ["Cat"]
    assert counts["dropped.hourly_views"] == 1


def test_a_broken_line_among_many_is_counted(tmp_path: Path) -> None:
    lines = [f"en Title_{n} 60 0" for n in range(200)]
    _, counts = read_views(hour(tmp_path, [*lines, "en nonsense"]), ("en",), 50, WikiSite())
    assert counts["dropped.broken"] == 1
    assert counts["kept"] == 200


@pytest.mark.parametrize("lines", [["20260101,Cat,900", "20260101,Dog,7"], ['{"title": "Cat"}'], []])
def test_a_file_of_another_format_is_named_with_what_was_found(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(InputError, match=r"000000.gz: found .*expected .*'project title views bytes'"):
        read_views(hour(tmp_path, lines), ("en",), 50, WikiSite())


def test_a_cut_view_file_is_named_with_the_offset(tmp_path: Path) -> None:
    stream = hour(tmp_path, LINES)
    path = Path(stream.url)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match=rf"ends at byte {path.stat().st_size}"):
        read_views(stream, ("en",), 50, WikiSite())


def test_names_in_addresses_become_titles() -> None:
    names = {"new_York": "New York", "Caf%C3%A9": "Café", "100%": "100%", "100%25_Wolf": "100% Wolf", "_x_": "X"}
    names |= {"AC/DC": "AC/DC", "Mercury_%28planet%29": "Mercury (planet)", "50%_off": "50% off", "élan": "Élan"}
    assert [page_title(name) for name in names] == list(names.values())


def test_titles_of_the_wiki_s_own_namespaces_are_left_out_beside_the_canonical_ones(tmp_path: Path) -> None:
    site = WikiSite()
    site.namespaces["Spezial"] = -1
    site.namespaces["Benutzer Diskussion"] = 3
    names = ["Spezial:Suche", "spezial:suche", "Special:Search", "Benutzer_Diskussion:X", "2001:_Odyssee", "Katze"]
    table, counts = read_views(hour(tmp_path, [f"de {name} 60 0" for name in names]), ("de",), 50, site)
    assert table["title"].to_pylist() == ["2001: Odyssee", "Katze"]
    assert counts["dropped.namespace"] == 4


@pytest.mark.parametrize("views", ["99999999999999999999", "9" * 5000, "-1", "1e9", "0x10"])
def test_a_number_that_no_hour_can_have_is_a_broken_line(tmp_path: Path, views: str) -> None:
    lines = [f"en Title_{n} 60 0" for n in range(200)]
    table, counts = read_views(hour(tmp_path, [*lines, f"en Cat {views} 0"]), ("en",), 50, WikiSite())
    assert "Cat" not in table["title"].to_pylist()
    assert (counts["dropped.broken"], counts["kept"]) == (1, 200)


def test_a_line_without_end_is_broken_and_is_not_held(tmp_path: Path) -> None:
    lines = [f"en Title_{n} 60 0" for n in range(200)]
    stream = hour(tmp_path, [*lines, "x" * 80_000_000, "en Cat 60 0"])
    tracemalloc.start()
    _, counts = read_views(stream, ("en",), 50, WikiSite())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (counts["dropped.broken"], counts["kept"]) == (1, 201)
    assert peak < 10_000_000
