from __future__ import annotations

import json
import math
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import InputError
from openwit.stage import Input, Source, Target
from wit_queries.terms.articles import PAIRS, WORD_COUNTS, WORDS, CountFiles
from wit_queries.terms.bigrams import (
    BIGRAMS,
    BigramsConfig,
    BucketsConfig,
    deal_pairs,
    is_among,
    num_buckets,
    score,
    select,
    sum_pairs,
)
from wit_queries.terms.terms import VOCABULARY, WANTED, wanted_pairs
from wit_queries.terms.word_counts import TextCounts

MIN_COUNT, MIN_PAIRS = 30, 8
WISHES = ["rare0 rare1", "word0 word1", "word3 rare2", "unseen word0"]


def lines(seed: int) -> list[str]:
    chance = random.Random(seed)
    common, rare = [f"word{n}" for n in range(12)], [f"rare{n}" for n in range(40)]
    return [" ".join(chance.choices(common + rare, [8] * 12 + [1] * 40, k=12)) for _ in range(150)] + ["rare0 rare1"]


def test_every_row_that_enters_the_sums_is_counted_and_the_bucket_number_changes_nothing(tmp_path: Path) -> None:
    parts = [lines(1), lines(2), lines(3)]
    results = [summed(tmp_path / str(buckets), parts, buckets) for buckets in (1, 2, 7)]
    assert results[0] == results[1] == results[2]

    words = Counter(word for part in parts for line in part for word in line.split())
    pairs = Counter(pair for part in parts for line in part for pair in pairwise(line.split()))
    expected = {}
    for (a, b), count in pairs.items():
        candidate = min(words[a], words[b]) >= MIN_COUNT and count >= MIN_PAIRS
        if candidate or f"{a} {b}" in WISHES:
            pmi = math.log2(words.total() * count / (words[a] * words[b]))
            expected[f"{a} {b}"] = (count, pytest.approx(pmi, abs=1e-5), candidate)
    assert results[0] == expected  # type: ignore[comparison-overlap]
    assert "rare0 rare1" in expected
    assert len(expected) > 40


def summed(folder: Path, parts: list[list[str]], buckets: int) -> dict[str, tuple[int, float, bool]]:
    """All that both stages make of the parts, of which each fills several runs."""
    folder.mkdir()
    words = Counter(word for part in parts for line in part for word in line.split())
    frequent = sorted(word for word, count in words.items() if count >= MIN_COUNT)
    others = sorted({word for wish in WISHES for word in wish.split()} & set(words) - set(frequent))
    table = pa.table([frequent + others, [words[w] for w in frequent + others]], schema=WORD_COUNTS)
    pq.write_table(table, folder / VOCABULARY)
    pq.write_table(pa.table({"pair": wanted_pairs(WISHES, table["word"])}), folder / WANTED)
    (folder / "facts.json").write_text(json.dumps({"num_frequent": len(frequent), "num_words": words.total()}))
    shared = {VOCABULARY: VOCABULARY, WANTED: WANTED, ".facts.json": "facts.json"}
    inputs = {role: (Input(url=str(folder / name), identity=""),) for role, name in shared.items()}

    dealt = []
    for n, part in enumerate(parts):
        write_runs(folder, n, part)
        target = Target(n, folder / "dealt")
        target.scratch.mkdir(exist_ok=True)
        files = {role: (Input(url=str(folder / f"{n:05d}{role}"), identity=""),) for role in (WORDS, PAIRS)}
        counts = deal_pairs(BucketsConfig(num_buckets=buckets), Source(index=n, inputs={**inputs, **files}), target)
        assert counts["in"] == counts["kept"] + counts["dropped.rare_word"]
        dealt.append(Input(url=str(target.path(PAIRS)), identity=""))
    found = {}
    for bucket in range(buckets):
        config = BigramsConfig(num_buckets=buckets, min_bigram_count=MIN_PAIRS)
        source = Source(index=bucket, inputs={**inputs, PAIRS: tuple(dealt)})
        counts = sum_pairs(config, source, Target(bucket, folder))
        assert counts["in"] == counts["kept"] + counts["dropped.same_pair"] + counts["dropped.min_bigram_count"]
        for row in pq.read_table(folder / f"{bucket:05d}{BIGRAMS}").to_pylist():
            found[row["query"]] = (row["count"], row["pmi"], row["candidate"])
    return found


def write_runs(folder: Path, index: int, part: list[str]) -> None:
    counts: Counter[str] = Counter()
    with CountFiles(Target(index, folder), counts) as files:
        text = TextCounts(files.add_run, 20_000)
        for line in part:
            text.add(line)
        text.finish()
    assert counts["runs"] > 1


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abc ", min_size=1), min_size=1, max_size=5))
def test_pmi_is_the_logarithm_of_how_much_oftener_than_by_chance(texts: list[str]) -> None:
    words = Counter(word for text in texts for word in text.split())
    pairs = Counter(pair for text in texts for pair in pairwise(text.split()))
    names = sorted(words)
    vocabulary = pa.table([names, [words[name] for name in names]], schema=WORD_COUNTS)
    first, second = (np.array([names.index(pair[n]) for pair in pairs], np.int32) for n in (0, 1))
    scored = score(vocabulary, first, second, np.array(list(pairs.values()), np.int64), words.total())
    assert scored.num_rows == len(pairs)
    for row, ((a, b), count) in zip(scored.to_pylist(), pairs.items(), strict=True):
        assert row["query"] == f"{a} {b}"
        assert row["pmi"] == pytest.approx(math.log2(words.total() * count / (words[a] * words[b])), abs=1e-5)


@given(st.lists(st.integers(-5, 5)), st.sets(st.integers(-5, 5)))
def test_membership_is_that_of_a_set(numbers: list[int], wanted: set[int]) -> None:
    found = is_among(np.array(numbers, np.int64), np.array(sorted(wanted), np.int64))
    assert found.tolist() == [number in wanted for number in numbers]


def test_there_are_as_many_buckets_as_the_memory_asks_for() -> None:
    assert [num_buckets(rows, 1) for rows in (0, 1, 16_384, 16_385, 10**6)] == [1, 1, 1, 2, 62]


CANDIDATES = pa.schema([("query", pa.string()), ("count", pa.int64()), ("pmi", pa.float32())])
ROWS = [("grand slam", 5, 9.0), ("the cat", 7, 2.5), ("a dog", 3, 2.5), ("of it", 3, 2.5), ("and so", 2, -1.0)]
Row = tuple[str, int, float]


def parts_of(rows: list[Row], num_parts: int = 1) -> list[pa.Table]:
    return [
        pa.Table.from_pylist([dict(zip(CANDIDATES.names, row, strict=True)) for row in rows[n::num_parts]], CANDIDATES)
        for n in range(num_parts)
    ]


def chosen(rows: list[Row], min_pmi: float | None, target: int | None, num_parts: int = 1) -> list[str]:
    found = select(parts_of(rows, num_parts), min_count=2, min_pmi=min_pmi, target=target, num_words=1000)
    return found.table["query"].to_pylist()  # type: ignore[no-any-return]


def test_a_target_takes_the_highest_pmi_and_tells_the_threshold() -> None:
    found = select(parts_of(ROWS), min_count=2, min_pmi=None, target=2, num_words=1000)
    assert found.table["query"].to_pylist() == ["grand slam", "the cat"]
    assert found.min_pmi == 2.5
    assert select(parts_of(ROWS), min_count=2, min_pmi=None, target=0, num_words=1000).min_pmi is None


def test_a_threshold_takes_all_that_reach_it() -> None:
    assert chosen(ROWS, 2.5, None) == ["grand slam", "the cat", "a dog", "of it"]
    assert chosen(ROWS, 9.0, None) == ["grand slam"]


rows = st.lists(
    st.tuples(st.text("ab", min_size=1), st.integers(2, 4), st.sampled_from([0.5, 1.0, 2.0])), unique_by=lambda r: r[0]
)


@settings(deadline=None)
@given(rows, st.integers(1, 4), st.integers(0, 5))
def test_the_choice_and_its_order_do_not_depend_on_the_parts(rows: list[Row], num_parts: int, target: int) -> None:
    ranked = [row[0] for row in sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))]
    if len(rows) >= target:
        assert chosen(rows, None, target, num_parts) == ranked[:target]
    if rows:
        assert chosen(rows, 0.5, None, num_parts) == ranked


def test_a_threshold_out_of_reach_of_a_small_corpus_says_so_with_the_bound() -> None:
    with pytest.raises(InputError, match=r"min_pmi=30.*this corpus of 1,000 words.*highest PMI: 9.00.*more than 8.97"):
        chosen(ROWS, 30.0, None)
    with pytest.raises(InputError, match=r"highest PMI: none"):
        chosen([], 30.0, None)


@pytest.mark.parametrize("num_parts", [1, 3])
def test_of_more_bigrams_than_the_corpus_has_all_are_taken(num_parts: int) -> None:
    found = select(parts_of(ROWS, num_parts), min_count=2, min_pmi=None, target=500, num_words=1000)
    assert found.table["query"].to_pylist() == chosen(ROWS, None, len(ROWS))
    assert found.min_pmi == -1.0
    nothing = select(parts_of([], num_parts), min_count=2, min_pmi=None, target=500, num_words=1000)
    assert (nothing.table.num_rows, nothing.min_pmi) == (0, None)
