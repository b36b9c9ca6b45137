from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wit_queries.merge import QUERIES, SOURCES, Measures, merge

lists = st.lists(st.sampled_from("abcdefgh"), unique=True)
NOTHING = Measures({}, {}, {})


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(SOURCES, lists)), st.integers(1, 10))
def test_a_term_stands_once_under_its_first_source_and_counts_add_up(terms: dict[str, list[str]], most: int) -> None:
    table, counts = merge(terms, NOTHING, most)
    rows = table.to_pylist()
    ordered = list(dict.fromkeys(query for source in SOURCES for query in terms[source]))
    assert [row["query"] for row in rows] == ordered[:most]
    assert [row["query_id"] for row in rows] == list(range(len(rows)))
    assert all(row["source"] == next(s for s in SOURCES if row["query"] in terms[s]) for row in rows)
    assert all(row["sources"] == [s for s in SOURCES if row["query"] in terms[s]] for row in rows)
    assert counts["in"] == counts["kept"] + counts["dropped.other_source"] + counts["dropped.max_queries"]
    assert counts["kept"] == len(rows) == sum(counts[f"source.{source}"] for source in SOURCES)


def test_rows_carry_all_that_was_measured_whatever_their_source() -> None:
    terms = {"word": ["cat"], "bigram": ["grand slam"], "title": ["cat", "new york"], "synset": ["a b c"]}
    measures = Measures({"cat": 5, "grand slam": 3, "new york": 0}, {"grand slam": 1.5}, {"cat": 70, "new york": 90})
    table, _ = merge(terms, measures, 10)
    assert table.schema.equals(QUERIES)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (0, "cat", "word", ["word", "title"], 5, None, 70),
        (1, "grand slam", "bigram", ["bigram"], 3, 1.5, None),
        (2, "new york", "title", ["title"], 0, None, 90),
        (3, "a b c", "synset", ["synset"], None, None, None),
    ]


def test_a_blocked_term_is_left_out_of_every_source_and_its_place_goes_to_the_next() -> None:
    terms = {"word": ["cat", "dog"], "bigram": [], "title": ["cat", "bird"], "synset": ["fish"]}
    table, counts = merge(terms, NOTHING, 3, blocked={"cat": "Cat!", "unseen": "unseen"})
    assert table["query"].to_pylist() == ["dog", "bird", "fish"]
    assert counts["dropped.blocked"] == 2
    assert counts["in"] == counts["kept"] + counts["dropped.blocked"]
