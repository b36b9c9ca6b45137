from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.config import RetryConfig
from datagen.crawl.retry import is_superseded, last_words, pattern_of, process
from datagen.schemas import CAPTIONS, RETRIED
from helpers.pairs import run_step
from openwit.stage import Input

SCHEMA = pa.schema(
    [("url", pa.string()), ("captions", CAPTIONS), *((name, pa.string()) for name in ("key", "reason", "retry_of"))]
)


def shard(path: Path, index: int, rows: list[tuple[str | None, str | None]]) -> Input:
    """A shard's table; of each row its reason, and the key that it takes the place of."""
    columns = [
        [f"http://x.test/{index}/{place}" for place in range(len(rows))],
        [[]] * len(rows),
        [f"{index:05d}{place:04d}" for place in range(len(rows))],
        [why for why, _ in rows],
        [old for _, old in rows],
    ]
    pq.write_table(pa.table(columns, schema=SCHEMA), path / f"{index}.parquet")
    return Input.outside(str(path / f"{index}.parquet"))


def test_rows_whose_last_word_is_one_of_the_reasons_are_listed_in_order(tmp_path: Path) -> None:
    first = shard(tmp_path, 0, [("timeout", None), (None, None), ("http_503", None), ("http_404", None), ("dns", None)])
    later = shard(tmp_path, 1, [("timeout", "000000000"), (None, "000000002")])
    config = RetryConfig(reasons=("timeout", "5xx", "dns"))
    counts = run_step(process, config, {"shards": (first, later), "later": (later,)}, tmp_path / "out")
    assert dict(counts) == {
        "in": 7, "kept": 2, "dropped.fetched": 2, "dropped.retried": 2, "dropped.other_reason": 1,
    }  # fmt: skip
    table = pq.read_table(tmp_path / "out" / "00000.parquet")
    assert table.schema.equals(RETRIED)
    assert table["retry_of"].to_pylist() == ["000000004", "000010000"]
    assert table["retry_reason"].to_pylist() == ["dns", "timeout"]
    assert table["url"].to_pylist() == ["http://x.test/0/4", "http://x.test/1/0"]


@pytest.mark.parametrize(
    ("given_words", "word", "is_meant"),
    [("5xx", "http_503", True), ("5xx", "http_404", False), ("4xx", "http_429", True), ("dns", "dns", True),
     ("http_50", "http_503", False), ("time", "timeout", False)],
)  # fmt: skip
def test_a_word_means_itself_and_5xx_all_of_its_kind(given_words: str, word: str, is_meant: bool) -> None:
    assert bool(re.fullmatch(pattern_of([given_words, "never"]), word)) == is_meant


@given(st.lists(st.integers(0, 99_999_999_999), unique=True), st.data())
def test_a_row_counts_no_more_where_a_later_one_names_its_key(numbers: list[int], data: st.DataObject) -> None:
    import tempfile

    chosen = data.draw(st.lists(st.sampled_from(numbers))) if numbers else []
    with tempfile.TemporaryDirectory() as folder:
        named = shard(Path(folder), 0, [(None, f"{number:011d}") for number in chosen] + [(None, None)])
        later = last_words([named.url])
    keys = pa.array([f"{number:011d}" for number in numbers], pa.string())
    assert is_superseded(keys, later).tolist() == [number in chosen for number in numbers]
