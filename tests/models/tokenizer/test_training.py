from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.places import ROOT
from models.tokenizer.tokenizer import Tokenizer
from models.tokenizer.training import TokenizerConfig, missing_ids, train_vocabulary
from models.tokenizer.vocabulary import to_bytes
from openwit.errors import ConfigError, InputError

CAPTIONS = [
    f"A {size} {colour} {thing}, it’s on the {place} &amp; {number} more 😀"
    for size in ("big", "small", "tiny")
    for colour in ("red", "reddish", "green", "blue-green")
    for thing in ("cat", "cats", "catfish", "dog’s bowl", "café")
    for place in ("table", "tablecloth", "left")
    for number in (2, 10)
]


def test_the_commonest_neighbours_are_merged_first_and_ties_go_to_earlier_symbols() -> None:
    config = TokenizerConfig(vocabulary_size=600, min_count=2, context_length=9)
    vocabulary = train_vocabulary(["ab ab ab xabc yz", "yz"], config)
    # a·b</w> stands three times; y·z</w> twice; a·b, b·c</w>, x·a once
    assert vocabulary.merges == (("a", "b</w>"), ("y", "z</w>"))
    assert (vocabulary.size, vocabulary.context_length) == (516, 9)
    assert missing_ids(vocabulary, config) == 600 - 516


def test_order_of_captions_and_process_do_not_change_a_byte() -> None:
    config = TokenizerConfig(vocabulary_size=700)
    here = to_bytes(train_vocabulary(CAPTIONS, config))
    shuffled = random.Random(1).sample(CAPTIONS, len(CAPTIONS))
    assert to_bytes(train_vocabulary(shuffled, config)) == here
    code = f"""
import os, sys
os.environ["TOKENIZERS_PARALLELISM"] = "true"
from models.tokenizer.training import TokenizerConfig
from models.tokenizer.training import train_vocabulary
from models.tokenizer.vocabulary import to_bytes
print(to_bytes(train_vocabulary({CAPTIONS!r}, TokenizerConfig(vocabulary_size=700))).hex())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert bytes.fromhex(done.stdout) == here


def test_a_trained_vocabulary_gives_the_reference_ids_and_shorter_texts(tmp_path: Path) -> None:
    config = TokenizerConfig(vocabulary_size=560, context_length=48)
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(to_bytes(train_vocabulary(CAPTIONS, config)))
    tokenizer = Tokenizer(merges_path=path)
    assert (tokenizer.vocabulary_size, tokenizer.context_length, tokenizer.end_token) == (560, 48, 559)
    reference = pytest.importorskip("open_clip.tokenizer").SimpleTokenizer(str(path), context_length=48)
    texts = [*CAPTIONS, "unseen words &lt; \U0001f9ff naïve", "abcdefghijklmnopqrstuvwxyz " * 9, "aaaaaaaaaa bbbbbbb"]
    encoded = tokenizer.encode_batch(texts)
    assert encoded.ids.tolist() == reference(texts).tolist()
    assert encoded.lengths[0] < 20
    assert tokenizer.decode(encoded.ids[0]) == "a big red cat , it 's on the table & 2 more 😀"


def test_two_ways_to_one_word_are_one_id() -> None:
    captions = ["a" * n for n in range(1, 60) for _ in range(n % 7 + 1)]
    vocabulary = train_vocabulary(captions, TokenizerConfig(vocabulary_size=560))
    assert len(set(vocabulary.words)) == len(vocabulary.words)


def test_captions_without_neighbours_are_refused() -> None:
    with pytest.raises(InputError, match="no two symbols stand together 2 times"):
        train_vocabulary(["a b c", ""], TokenizerConfig())


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("vocabulary_size", 514, "are 514 ids; write more"),
        ("context_length", 2, "write 3 or more"),
        ("min_count", 0, "min_count=0: must be at least 1"),
        ("max_captions", 0, "max_captions=0: must be at least 1"),
    ],
)
def test_a_size_that_holds_no_word_is_refused(name: str, value: int, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        TokenizerConfig(**{name: value})  # type: ignore[arg-type]
