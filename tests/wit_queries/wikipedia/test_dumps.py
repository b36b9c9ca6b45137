from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from helpers.dumps import page, write_dump
from openwit.errors import InputError
from openwit.stage import Input, Source, Target
from wit_queries.wikipedia.dumps import FACTS, SITE, DumpsConfig, describe_dump, read_site


def describe(tmp_path: Path, dump: Path, language: str = "en") -> Target:
    target = Target(0, tmp_path)
    source = Source(index=0, inputs={"dump": (Input.outside(str(dump)),)})
    assert describe_dump(DumpsConfig(language=language), source, target) == {"in": 1, "kept": 1}
    return target


def test_a_dump_s_size_digest_and_wiki_are_written_down(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "one.xml.bz2", [page("Cat", "a cat")])
    target = describe(tmp_path, dump)
    facts = json.loads(target.path(FACTS).read_text())
    data = dump.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    expected = {"role": "dump", "language": "en", "name": "one.xml.bz2", "bytes": len(data), "sha256": digest}
    assert facts == expected
    site = read_site(str(target.path(SITE)))
    assert site.language == "en"
    assert site.namespace_of("Portal:Cats") == 100


def test_a_dump_of_another_language_is_refused_with_both(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "one.xml", [page("Cat", "a cat")])
    with pytest.raises(InputError, match=r"one.xml: its header says language en, the recipe says queries.language=de"):
        describe(tmp_path, dump, "de")
    dump.write_text(dump.read_text().replace(' xml:lang="en"', ""))
    with pytest.raises(InputError, match=r"header says language nothing"):
        describe(tmp_path, dump)


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(InputError, match=r"page.html: begins with '<!DOCTYPE html"):
        describe(tmp_path, tmp_path / "page.html")
