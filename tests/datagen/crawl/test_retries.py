from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.config import RetryConfig, StatisticsConfig
from datagen.crawl.retries import is_superseded, latest_attempts, pattern_of, process
from datagen.funnel import funnel
from datagen.schemas import CAPTIONS, RETRIED
from datagen.statistics.collect import collect
from helpers import crawl_run, web
from helpers.pairs import run_step
from openwit import manifest
from openwit.errors import ConfigError, InputError
from openwit.executors.executor import ExecutorConfig
from openwit.stage import Input

# Asked for the first time these answer 503 or 504, later with an image; 404 and 410 stay.
ONCE = [f"busy/1/503/0?{n}" for n in range(7)] + [f"busy/1/504/0?{n}" for n in range(5)]
TWICE = [f"busy/2/504/0?{n}" for n in range(6)]
NEVER = [f"status/404?{n}" for n in range(4)] + [f"status/500?{n}" for n in range(3)]
FETCHED = [f"ok/{n}" for n in range(20)]
PATHS = [(ONCE + TWICE + NEVER + FETCHED)[number * 7 % 45] for number in range(45)]
TWO = ExecutorConfig(workers=1)
crawl = functools.partial(crawl_run.crawl, executor=TWO, max_backoff_s=0.01, host_failures=1000)


@pytest.fixture
def server() -> Iterator[web.Server]:
    with web.serving() as running:
        yield running


def parts(work: Path) -> dict[str, bytes]:
    """What is published of each shard."""
    return {path.name: path.read_bytes() for path in sorted((work / "shards").glob("0*"))}


@pytest.mark.slow
def test_a_round_fetches_only_the_rows_that_failed_for_the_reasons_into_new_shards(
    tmp_path: Path, server: web.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    work, port = tmp_path / "work", server.server_port
    crawl_run.prepare(str(work), PATHS)
    first = crawl(str(work), port)
    assert (len(first.parts), first.counts["kept"]) == (6, 20)
    before, asked = parts(work), len(server.paths)

    second = crawl(str(work), port, reasons=("5xx",))
    assert "retry: 21 rows are to be fetched again: http_500 3, http_503 7, http_504 11\n" in capsys.readouterr().err
    again = [path for path in server.paths[asked:] if "robots" not in path and "tdmrep" not in path]
    assert sorted(path.partition("/")[2] for path in again) == sorted(ONCE + TWICE + NEVER[4:])
    assert {name: data for name, data in parts(work).items() if name in before} == before
    assert [part.index for part in second.parts] == list(range(9))  # 21 rows in shards of ten at the most
    assert second.counts["kept"] == 20 + len(ONCE)
    expected = {"http_404": 4, "http_500": 3, "http_504": 6}
    assert funnel(str(work))[-1].dropped == dict(sorted(expected.items(), key=lambda item: (-item[1], item[0])))
    assert funnel(str(work))[-1].entered == len(PATHS)
    shown = collect(str(work), config=StatisticsConfig(gallery=0))
    assert (shown.images, shown.failures) == (32, funnel(str(work))[-1].dropped)

    third = crawl(str(work), port, reasons=("http_504",))
    assert third.counts["kept"] == 20 + len(ONCE) + len(TWICE)
    assert funnel(str(work))[-1].dropped == {"http_404": 4, "http_500": 3}
    assert {path: word for path, word in crawl_run.last_reasons(str(work)).items() if word} == {
        path: f"http_{path[7:10]}" for path in NEVER
    }
    kept = [row["url"] for row in crawl_run.rows(str(work)) if row["status"] == "success"]
    assert len(kept) == len(set(kept)) == third.rows

    asked = len(server.paths)
    assert crawl(str(work), port, reasons=("timeout", "dns")).parts == third.parts  # nothing failed for these
    assert crawl(str(work), port).parts == third.parts  # no retry asked for: all is done
    assert len(server.paths) == asked


@pytest.mark.slow
def test_a_round_that_was_interrupted_is_finished_and_no_other_is_begun(
    tmp_path: Path, server: web.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, port = tmp_path / "work", server.server_port
    crawl_run.prepare(str(work), PATHS)
    crawl(str(work), port)
    whole = crawl(str(work), port, reasons=("5xx",))
    after = crawl_run.content(str(work))
    for name in ("00007.json", "00007.tar", "manifest.json"):  # as a kill would have left it
        (work / "shards" / name).unlink()
    resumed = crawl(str(work), port, reasons=("5xx",))
    assert [part.index for part in resumed.parts] == [part.index for part in whole.parts]
    assert sorted(crawl_run.content(str(work))) == sorted(after)
    assert len(list((work / "retries").iterdir())) == 1


@pytest.mark.slow
def test_shards_of_other_settings_are_not_thrown_away_by_a_retry(tmp_path: Path, server: web.Server) -> None:
    work, port = tmp_path / "work", server.server_port
    crawl_run.prepare(str(work), PATHS[:20])
    crawl(str(work), port)
    before = parts(work)
    with pytest.raises(ConfigError, match=r"was made with crawl\.image_px=64; --retry keeps it, so give the same"):
        crawl(str(work), port, reasons=("5xx",), image_px=32)
    assert parts(work) == before
    crawl(str(work), port, reasons=("5xx",), deadline_s=4.0, threads=2)  # how one fetches is free
    assert {name: data for name, data in parts(work).items() if name in before} == before
    assert crawl(str(work), port, image_px=32).rows == 20 - sum("404" in path or "500" in path for path in PATHS[:20])
    assert len(parts(work)) == 4 * 2  # the rounds belonged to the other settings
    assert {len(crawl_run.rows(str(work)))} == {20}


@pytest.mark.slow
def test_a_failed_partition_is_named_after_the_others_have_finished(tmp_path: Path, server: web.Server) -> None:
    work = tmp_path / "work"
    crawl_run.prepare(str(work), FETCHED, num_parts=2)
    shutil.copy(work / "selected" / "00000.parquet", tmp_path / "kept")
    (work / "selected" / "00000.parquet").write_bytes(b"damaged")
    with pytest.raises(
        InputError, match=r"crawl: 1 of 2 partitions failed \(00000\).*the same command tries"
    ) as caught:
        crawl(str(work), server.server_port)
    assert caught.value.exit_code != 0
    assert [path.name for path in sorted((work / "shards").glob("*.tar"))] == ["00001.tar"]
    assert not (work / "shards" / "manifest.json").exists()
    shutil.copy(tmp_path / "kept", work / "selected" / "00000.parquet")
    assert crawl(str(work), server.server_port).rows == len(FETCHED)


def test_words_that_are_no_reasons_are_refused() -> None:
    for word in ("Timeout", "6xx", "", "http 404"):
        with pytest.raises(ConfigError, match=r"is no reason; write e\.g\. --retry timeout,dns,5xx"):
            RetryConfig(reasons=(word,))


@pytest.mark.slow
def test_the_manifest_names_the_rows_that_count_no_more(tmp_path: Path, server: web.Server) -> None:
    crawl_run.prepare(str(tmp_path), ONCE)
    crawl(str(tmp_path), server.server_port)
    made = crawl(str(tmp_path), server.server_port, reasons=("5xx",))
    assert made.counts == {
        "in": 24, "kept": 12, "dropped.http_503": 7, "dropped.http_504": 5, "retried.http_503": 7,
        "retried.http_504": 5, "same_bytes": 10, "bytes": made.counts["bytes"],
    }  # fmt: skip
    assert json.loads((tmp_path / "retries" / "0000" / "manifest.json").read_text())["config"] == {"reasons": ["5xx"]}
    assert manifest.read(str(tmp_path / "shards")).parts == made.parts


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
        later = latest_attempts([named.url])
    keys = pa.array([f"{number:011d}" for number in numbers], pa.string())
    assert is_superseded(keys, later).tolist() == [number in chosen for number in numbers]
