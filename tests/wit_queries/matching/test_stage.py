from __future__ import annotations

from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers.pairs import run_step
from openwit.stage import Input
from wit_queries.config import MatcherConfig
from wit_queries.matching import stage


def table(folder: Path, config: MatcherConfig) -> Input:
    pq.write_table(pa.table({"query": ["st louis", "Cat"]}), folder / "queries.parquet")
    inputs = {"queries": (Input.outside(str(folder / "queries.parquet")),)}
    counts = run_step(stage.process, config, inputs, folder / "table")
    assert counts == {"in": 2, "kept": 2}
    return Input.outside(str(folder / "table" / stage.NAME))


def test_the_table_finds_queries_by_their_rows(tmp_path: Path) -> None:
    matcher = stage.open_matcher(table(tmp_path, MatcherConfig()))
    assert matcher.match(["A cat in St. Louis", "none"]) == [[0, 1], []]


def test_the_mode_is_kept_in_the_table(tmp_path: Path) -> None:
    matcher = stage.open_matcher(table(tmp_path, MatcherConfig(mode="metaclip")))
    assert matcher.match(["A cat in st louis", "a Cat"]) == [[0], [1]]


def test_a_remote_table_is_copied_to_this_machine_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(tmp_path, MatcherConfig())
    remote = Input(url="memory://run/queries.table", identity="abc")
    fsspec.filesystem("memory").pipe("/run/queries.table", Path(made.url).read_bytes())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert stage.open_matcher(remote).match(["cat"]) == [[1]]
    assert next(tmp_path.glob("openwit-*/abc.table")).read_bytes() == Path(made.url).read_bytes()
    fsspec.filesystem("memory").rm("/run/queries.table")
    stage.open_matcher.cache_clear()
    assert stage.open_matcher(remote).match(["cat"]) == [[1]]
