from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import InputError
from wit_queries.bigrams import select

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
    return found.table["query"].to_pylist()


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


def test_more_bigrams_than_the_corpus_has_says_how_many_there_are() -> None:
    with pytest.raises(InputError, match=r"terms.num_bigrams=500: .* has 5 bigrams"):
        chosen(ROWS, None, 500, 3)
