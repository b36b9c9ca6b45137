from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wit_queries.terms.word_counts import Counted, TextCounts, join_pairs, split_pairs
from wit_queries.text.normalize import words

LETTERS = "ab \n.'É\u2028\U0001d41a"
texts = st.lists(st.text(alphabet=LETTERS, max_size=30), max_size=8)
Counts = tuple[Counter[str], Counter[tuple[str, str]]]


def plain(parts: Iterable[str]) -> Counts:
    """What TextCounts must come to, as it would be written without thought for time and memory."""
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for text in parts:
        for line in text.split("\n"):
            found = words(line)
            singles.update(found)
            pairs.update(pairwise(found))
    return singles, pairs


def counted(parts: Iterable[str], memory_bytes: int = 1 << 20) -> list[Counted]:
    runs: list[Counted] = []
    counts = TextCounts(runs.append, memory_bytes)
    for text in parts:
        counts.add(text)
    counts.finish()
    return runs


def total(runs: list[Counted]) -> Counts:
    singles: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for run in runs:
        names = run.words["word"].to_pylist()
        assert len(set(names)) == len(names) == len(run.hashes)
        singles.update(dict(zip(names, run.words["count"].to_pylist(), strict=True)))
        first, second = split_pairs(run.pairs)
        both = [(names[a], names[b]) for a, b in zip(first, second, strict=True)]
        assert len(set(both)) == len(both) == len(run.pair_counts)
        pairs.update(dict(zip(both, run.pair_counts.tolist(), strict=True)))
    return singles, pairs


def test_pairs_do_not_reach_over_the_end_of_a_line_or_text() -> None:
    singles, pairs = total(counted(["The cat sat.\nThe cat", "ran"]))
    assert singles == {"the": 2, "cat": 2, "sat": 1, "ran": 1}
    assert pairs == {("the", "cat"): 2, ("cat", "sat"): 1}


@settings(deadline=None)
@given(texts)
@example([])
@example(["", "\n\n", "..."])
def test_counts_are_those_of_a_plain_counter(parts: list[str]) -> None:
    assert total(counted(parts)) == plain(parts)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(700, 4000))
def test_a_full_memory_gives_several_runs_that_add_up(seed: int, memory_bytes: int) -> None:
    chance = np.random.default_rng(seed)
    lines = [" ".join(f"w{n}" for n in chance.zipf(1.3, size=chance.integers(0, 40)) % 500) for _ in range(60)]
    runs = counted(["\n".join(lines[:30]), "\n".join(lines[30:])], memory_bytes)
    assert len(runs) > 1
    assert total(runs) == plain(lines)


def test_memory_grows_to_its_limit_before_a_run_ends() -> None:
    text = "\n".join(f"first{n} second{n} third{n}" for n in range(30_000))
    assert total(counted([text], 64 << 20)) == plain([text])
    assert len(counted([text], 64 << 20)) == 1
    assert len(counted([text], 8 << 20)) > 1


def test_a_line_that_is_longer_than_the_memory_is_counted_whole() -> None:
    line = " ".join(f"w{n % 700}" for n in range(5000))
    assert total(counted(["a b", f"a b\n{line}\nc d"], 1000)) == plain(["a b", f"a b\n{line}\nc d"])


def test_a_word_has_the_same_hash_in_every_run() -> None:
    one, two = counted(["cat dog"])[0], counted(["the bird and the dog"])[0]
    where = two.words["word"].to_pylist().index("dog")
    assert one.hashes[1] == two.hashes[where]
    assert len(set(two.hashes)) == 4


def test_pairs_as_one_number_come_apart_again() -> None:
    first, second = np.array([0, 5, 2**31 - 1], np.int32), np.array([7, 0, 2**31 - 1], np.int32)
    for given_back, given_in in zip(split_pairs(join_pairs(first, second)), (first, second), strict=True):
        assert given_back.tolist() == given_in.tolist()
