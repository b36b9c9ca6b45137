from __future__ import annotations

import itertools
import random
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openwit.errors import ConfigError
from openwit.kernels.buffers import text_array, utf8_buffers
from wit_queries.matching import kernel, matcher
from wit_queries.matching.matcher import PUNCTUATION, WHITE_SPACE, QueryMatcher, spaced_batch
from wit_queries.text.fast_normalize import normalize_batch
from wit_queries.text.normalize import words

few_words = st.lists(
    st.sampled_from(["a", "b", "A", "b's", "c-a", "Éa", "!", "ﬁ", "fi", "a.b", "seventy", "seventyone"]), max_size=6
).map(" ".join)
adversarial = st.one_of(few_words, st.text(alphabet="abÉé\u0301'’s .-\u00ad\u200b가ᄀ\ud800"), st.text(max_size=30))
punctuated = st.text(alphabet="aB .,;:?!`\t\n\r-'\0é\ud800", max_size=12)


def scan(queries: list[str], caption: str) -> list[int]:
    found = words(caption)
    wanted = [words(query) for query in queries]
    return [
        number
        for number, query in enumerate(wanted)
        if query and any(found[at : at + len(query)] == query for at in range(len(found)))
    ]


def metaclip_scan(entries: list[str], caption: str) -> list[int]:
    text = re.sub(r"[\t\n\r]", " ", re.sub(r"([,.;:?!`])", r" \1 ", f" {caption} "))
    return [number for number, entry in enumerate(entries) if f" {entry} " in text]


@settings(deadline=None)
@given(st.lists(adversarial, max_size=12), st.lists(adversarial, max_size=6))
def test_matches_are_those_of_a_scan_word_by_word(queries: list[str], captions: list[str]) -> None:
    assert QueryMatcher(queries).match(captions) == [scan(queries, caption) for caption in captions]


@settings(deadline=None)
@given(
    st.lists(st.one_of(punctuated, adversarial), max_size=12), st.lists(st.one_of(punctuated, adversarial), max_size=6)
)
def test_metaclip_matches_are_those_of_a_scan_by_its_rule(entries: list[str], captions: list[str]) -> None:
    expected = [metaclip_scan(entries, caption) for caption in captions]
    assert QueryMatcher(entries, mode="metaclip").match(captions) == expected


@pytest.mark.parametrize("mode", matcher.MODES)
def test_a_large_list_matches_as_a_scan_does(mode: matcher.Mode) -> None:
    draw = random.Random(7)
    known = ["".join(draw.choices("abcdeé", k=draw.choice([1, 2, 3, 7, 8, 9, 15]))) for _ in range(60)]
    queries = [" ".join(draw.choices(known, k=draw.choice([1, 1, 2, 3, 6]))) for _ in range(3000)]
    captions = [" ".join(draw.choices([*known, "z"], k=draw.randint(0, 40))) for _ in range(300)]
    text = {mode: [f" {' '.join(words(caption))} " for caption in captions]}[mode]
    expected = [[n for n, query in enumerate(queries) if f" {query} " in caption] for caption in text]
    assert sum(map(len, expected)) > 10_000
    assert QueryMatcher(queries, mode).match(captions) == expected


def test_overlapping_nested_and_equal_queries_are_all_found_once() -> None:
    queries = ["new", "new york", "york city", "New York", "new york city hall"]
    assert QueryMatcher(queries).match(["New York, New York City!"]) == [[0, 1, 2, 3]]


def test_part_of_a_word_is_no_match() -> None:
    assert QueryMatcher(["art", "cat"]).match(["a party of cats", ""]) == [[], []]


def test_words_of_two_captions_are_no_match() -> None:
    assert QueryMatcher(["new york", "new"]).match(["new", "york", "new york"]) == [[1], [], [0, 1]]


def test_a_very_long_caption_is_matched_at_its_end() -> None:
    assert QueryMatcher(["word end"]).match(["word " * 100_000 + "end"]) == [[0]]


def test_a_query_without_words_matches_nothing() -> None:
    assert QueryMatcher(["", "!?", "a"]).match(["", "a !?"]) == [[], [2]]
    assert QueryMatcher([]).match(["a"]) == [[]]


def test_entries_with_punctuation_inside_never_match_metaclips_way() -> None:
    entries = ["St. Louis", "St", "Louis", "louis", "Washington , D.C."]
    assert QueryMatcher(entries, "metaclip").match(["in St. Louis", "Washington, D.C.\tLouis"]) == [[1, 2], [2]]


def test_more_matches_than_the_first_room_are_all_found() -> None:
    queries = ["a"] * 3000 + ["a b"] * 2000 + ["b"]
    assert QueryMatcher(queries).match(["a b"] * 40) == [list(range(5001))] * 40


def test_ids_of_every_size_are_sorted() -> None:
    queries = [f"w{number}" for number in range(20_000)]
    picked = [19_999, 2047, 2048, 0, 1, 4096, 2049, 2047]
    assert QueryMatcher(queries).match([" ".join(queries[n] for n in picked), "w5"]) == [sorted({*picked}), [5]]


@pytest.mark.parametrize("num_queries", [1 << 11, (1 << 11) + 1, 1 << 22, (1 << 22) + 1, 1 << 31])
def test_ids_of_large_lists_are_sorted_and_each_is_there_once(num_queries: int) -> None:
    top = num_queries - 1
    ids = np.array([top, 0, top // 2, top, 1, 3, 3, top - 1, 0], np.int32)
    places = np.array([0, 5, 5, 9], np.int64)
    found = kernel.sort_each(ids, places, num_queries).tolist()
    assert [found[a:b] for a, b in itertools.pairwise(places.tolist())] == [
        sorted({top, 0, top // 2, 1}), [], [0, 3, top - 1]
    ]  # fmt: skip


def test_nothing_is_written_behind_the_room_for_ids_however_small_it_is() -> None:
    opened = QueryMatcher(["a", "a b", "b", "b c", "a b c", *["b"] * 5])
    data, offsets = utf8_buffers(normalize_batch(text_array(["a b c", "b", "a b a b c b", "", "c b a"])))
    for room in range(120):
        ids = np.full(160, -7, np.int32)
        places = np.zeros(len(offsets), np.int64)
        done = kernel.match_tokens(data, offsets, 0, opened._table.arrays, ids[:room], places)
        assert (ids[room:] == -7).all(), room
        assert done == len(offsets) - 1 or room < 100


@settings(deadline=None)
@given(st.lists(st.none() | few_words, max_size=40), st.integers(0, 12), st.integers(1, 40), st.integers(1, 5))
def test_chunks_and_slices_give_the_same_matches(
    captions: list[str | None], start: int, chunk_bytes: int, chunk_captions: int
) -> None:
    queries = ["a", "b a", "fi", "a b", "seventy seventyone"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matcher, "CHUNK_BYTES", chunk_bytes)
        patch.setattr(matcher, "CHUNK_CAPTIONS", chunk_captions)
        found = QueryMatcher(queries).match_array(pa.array(captions, pa.string()).slice(start))
    assert found.type == pa.list_(pa.int32())
    assert found.to_pylist() == [scan(queries, caption or "") for caption in captions[start:]]


def test_another_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mode=letters.*words, metaclip"):
        QueryMatcher(["a"], mode="letters")  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", matcher.MODES)
def test_a_saved_matcher_is_opened_as_it_was(tmp_path: Path, mode: matcher.Mode) -> None:
    queries = ["New York", "new", "extraordinarily long", "a", "a", "", "York"]
    made = QueryMatcher(queries, mode)
    made.save(str(tmp_path / "queries.match"))
    opened = QueryMatcher.open(str(tmp_path / "queries.match"))
    captions = ["New York is new", "extraordinarily long, a", ""]
    assert (opened.mode, opened.num_queries, opened.num_bytes) == (mode, 7, (tmp_path / "queries.match").stat().st_size)
    assert opened.match(captions) == made.match(captions)


def test_an_opened_matcher_has_no_memory_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "queries.match"
    QueryMatcher([f"w{number} x" for number in range(20_000)]).save(str(path))
    opened = QueryMatcher.open(str(path))
    assert opened.match(["w1 x w7 x"]) == [[1, 7]]
    maps = re.findall(rf"{path}\n((?:\w+: .*\n)+)", Path("/proc/self/smaps").read_text())
    kb = {name: int(size) for name, size in re.findall(r"(\w+): +(\d+) kB", maps[0])}
    assert kb["Rss"] > 500
    assert kb["Anonymous"] == kb["Private_Dirty"] == 0


def other_thread_runs_during(work: Callable[[], object]) -> bool:
    """Whether a thread that waits for the interpreter gets it while `work` runs: nothing else takes turns meanwhile."""
    waiting, gone_on, ran = threading.Event(), threading.Event(), [False]

    def other() -> None:
        waiting.set()
        gone_on.wait()
        ran[0] = True

    thread = threading.Thread(target=other)
    thread.start()
    waiting.wait()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    try:
        gone_on.set()
        ran[0] = False
        work()
        return ran[0]
    finally:
        sys.setswitchinterval(interval)
        thread.join()


def test_other_threads_run_while_a_kernel_does() -> None:
    caption = pa.array(["a new york, straße! " * 500_000])
    table = QueryMatcher(["a new", "york strasse"])._table.arrays
    data, places = utf8_buffers(normalize_batch(caption))
    ids, ends = np.empty(1 << 23, np.int32), np.zeros(2, np.int64)
    kernel.match_tokens(data, places[:1], 0, table, ids, ends)  # compiled before it counts
    spaced_batch(caption[:0])
    assert not other_thread_runs_during(lambda: sum(range(3_000_000)))
    assert other_thread_runs_during(lambda: kernel.match_tokens(data, places, 0, table, ids, ends))
    assert ends[1] == 1_000_000


def spaced(text: str) -> str:
    for sign in PUNCTUATION:
        text = text.replace(sign, f" {sign} ")
    for sign in WHITE_SPACE:
        text = text.replace(sign, " ")
    return text


@settings(deadline=None)
@given(st.lists(st.text(alphabet="aé.,;:?!`'\"-\t\n\r\x0b \ud800\U0001f469"), max_size=6), st.integers(0, 3))
def test_captions_are_spaced_sign_by_sign(captions: list[str], start: int) -> None:
    data, places = spaced_batch(text_array(captions)[start:])
    found = [bytes(data[a:b]).decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(places)]
    assert found == [spaced(caption) for caption in captions[start:]]


@pytest.mark.parametrize(
    ("caption", "expected"), [("St. Louis", "St .  Louis"), ("a\tb\r\n", "a b  "), ("it's", "it's")]
)
def test_a_caption_becomes(caption: str, expected: str) -> None:
    data, _ = spaced_batch(pa.array([caption]))
    assert bytes(data).decode() == expected
