from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from models.tokenizer.vocabulary import Vocabulary, byte_order, byte_symbols, find_merges, read_vocabulary, to_bytes
from openwit.errors import InputError

SMALL = Vocabulary((("a", "b"), ("ab", "c</w>"), ("d", "ab")), 16)


def test_openais_file_makes_49408_ids_with_start_and_end_on_top() -> None:
    vocabulary = read_vocabulary(find_merges())
    assert (vocabulary.size, vocabulary.start_token, vocabulary.end_token) == (49408, 49406, 49407)
    assert (len(vocabulary.words), vocabulary.context_length) == (49406, 77)
    assert vocabulary.words[320] == "a</w>"


def test_a_written_vocabulary_is_read_back_with_its_context_length(tmp_path: Path) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(to_bytes(SMALL))
    assert read_vocabulary(path) == SMALL
    assert to_bytes(SMALL) == to_bytes(read_vocabulary(path))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("#version\na b", "holds 1 merges, expected 48894"),
        ('#openwit-merges {"merges": 2, "context_length": 9}\na b', "holds 1 merges, expected 2"),
        ("#openwit-merges {}\na b", "first line is damaged"),
        ("#openwit-merges [", "first line is damaged"),
        ('#openwit-merges {"merges": 2, "context_length": 9}\na bc\nb c', "line 2 joins unknown words"),
        (
            '#openwit-merges {"merges": 2, "context_length": 9}\na b\na b',
            "line 3 joins .* or makes a known one",
        ),
    ],
)
def test_merges_that_are_missing_or_make_no_sense_are_named(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    with pytest.raises(InputError, match=rf"merges\.txt\.gz.*{part}"):
        read_vocabulary(path)


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"x" * 99, mtime=0)[:-9], gzip.compress(b"\xff\xfe", mtime=0)]
)
def test_a_file_that_is_no_gzipped_text_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"merges\.txt\.gz cannot be read"):
        read_vocabulary(path)


def test_missing_merges_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in [n for n in sys.modules if n.split(".")[0] in ("open_clip", "clip")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"pip install -e '\.\[clip\]'"):
        find_merges()


def test_each_byte_has_a_symbol_of_its_own_and_no_symbol_is_white() -> None:
    assert sorted(byte_order()) == list(range(256))
    assert len(set(byte_symbols())) == 256
    assert not any(symbol.isspace() for symbol in byte_symbols())
