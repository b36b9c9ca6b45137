from __future__ import annotations

import functools
import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from models.tokenizer.kernel import MAX_BYTES, NONE, contraction, find_pair, merge
from models.tokenizer.tables import MergeTables, build_tables
from models.tokenizer.vocabulary import Vocabulary, find_merges, read_vocabulary


@functools.cache
def openais() -> tuple[Vocabulary, MergeTables]:
    vocabulary = read_vocabulary(find_merges())
    return vocabulary, build_tables(vocabulary)


@functools.cache
def ranks() -> dict[tuple[int, int], int]:
    ids = {word: i for i, word in enumerate(openais()[0].words)}
    return {(ids[left], ids[right]): ids[left + right] for left, right in openais()[0].merges}


def merged_by_definition(ids: list[int]) -> list[int]:
    """All positions of the pair of the lowest rank at once, from left to right, again and again."""
    while pairs := [(ranks()[pair], pair) for pair in itertools.pairwise(ids) if pair in ranks()]:
        made, pair = min(pairs)
        out: list[int] = []
        at = 0
        while at < len(ids):
            is_pair = tuple(ids[at : at + 2]) == pair
            out.append(made if is_pair else ids[at])
            at += 1 + is_pair
        ids = out
    return ids


@given(st.one_of(st.text("etaoinshr", min_size=1, max_size=MAX_BYTES), st.text(min_size=1, max_size=16)))
@example("a" * 63)
@example("ha" * 32)
def test_merging_one_place_at_a_time_is_merging_by_definition(word: str) -> None:
    pairs_S2, symbols = openais()[1].merging
    ids = symbols[list(word.encode())]
    ids[-1] += 256
    expected = merged_by_definition(ids.tolist())
    size = merge(pairs_S2, ids, np.empty(len(ids), np.int64), len(ids))
    assert ids[:size].tolist() == expected


def test_every_merge_is_found_and_no_other() -> None:
    pairs_S2 = openais()[1].merging[0]
    assert all(find_pair(pairs_S2, *pair) == made for pair, made in list(ranks().items())[::7])
    others = [(right, left) for left, right in list(ranks())[::7] if (right, left) not in ranks()]
    assert {find_pair(pairs_S2, *pair) for pair in others} == {NONE}


def test_contractions_are_those_of_the_pattern_in_any_case() -> None:
    ends = {
        end: contraction(np.frombuffer(end.encode(), np.uint8), 0, len(end)) for end in "s T m d re VE Ll sun".split()
    }
    assert ends == {"s": 1, "T": 1, "m": 1, "d": 1, "re": 2, "VE": 2, "Ll": 2, "sun": 1}
    assert {contraction(np.frombuffer(b"rl vl lv xe 3", np.uint8), at, 13) for at in (0, 3, 6, 9, 12, 13)} == {0}
    assert contraction(np.frombuffer(b"re", np.uint8), 0, 1) == 0
