from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from datagen.config import SourcesConfig
from openwit.errors import InputError
from pipelines import recipes
from pipelines.cost.dataset import find_files, forecast, hours, round_number, tables
from pipelines.cost.rates import GUESS, RATES, SNAPSHOT_FILE_BYTES, SNAPSHOT_FILES, StageCost

SNAPSHOT = find_files(SourcesConfig())


def costs(**changes: object) -> StageCost:
    entry = StageCost(
        stage="match", partitions=90_000, done=1, core_s=36e4, bytes=1.5e12, rows=13.5e9, known_from="this run"
    )
    return dataclasses.replace(entry, **changes)  # type: ignore[arg-type]


def test_without_a_path_list_a_snapshots_size_is_assumed_and_said() -> None:
    assert (SNAPSHOT.number, SNAPSHOT.bytes) == (SNAPSHOT_FILES, SNAPSHOT_FILES * SNAPSHOT_FILE_BYTES)
    assert not SNAPSHOT.listed
    assert "assumed, as in one Common Crawl snapshot: sources.wat_paths is not given" in SNAPSHOT.note
    assert find_files(SourcesConfig(max_files=900)).number == 900


def test_a_path_list_that_does_not_answer_is_assumed_and_one_that_is_missing_here_is_an_error(tmp_path: Path) -> None:
    remote = find_files(SourcesConfig(wat_paths="http://127.0.0.1:1/wat.paths.gz"))
    assert not remote.listed
    assert "http://127.0.0.1:1/wat.paths.gz" in remote.note
    with pytest.raises(InputError, match=r"wat\.paths: no such file"):
        find_files(SourcesConfig(wat_paths=str(tmp_path / "wat.paths")))
    with pytest.raises(InputError, match="no file matches"):
        find_files(SourcesConfig(files=(str(tmp_path / "*.parquet"),)))


def test_files_of_this_machine_count_by_their_size_and_kind(tmp_path: Path) -> None:
    (tmp_path / "a.warc.wat.gz").write_bytes(bytes(2_000_000))
    (tmp_path / "b.parquet").write_bytes(bytes(1_000_000))
    (tmp_path / "wat.paths").write_text("a.warc.wat.gz\nhttps://crawl.test/b.warc.wat.gz\n")
    both = SourcesConfig(
        wat_paths=str(tmp_path / "wat.paths"), wat_prefix=str(tmp_path), files=(str(tmp_path / "*.parquet"),)
    )
    files = find_files(both)
    assert (files.number, files.bytes, files.listed) == (3, 3_000_000 + SNAPSHOT_FILE_BYTES, True)
    assert files.pairs == pytest.approx(2 * 1740 + 8000 + SNAPSHOT_FILE_BYTES / 1e6 * 1740)
    assert files.note == " (300.0 MB each: assumed)"
    assert find_files(dataclasses.replace(both, max_files=1)).note == ""


def test_the_forecast_of_the_whole_scale_names_every_stage_and_the_sums(tmp_path: Path) -> None:
    recipe = recipes.create("wit400m", str(tmp_path))
    first, second, stages, *after = forecast(recipe, str(tmp_path), SNAPSHOT, [])
    header, *lines = stages.splitlines()
    assert max(map(len, [header, *lines])) <= 80
    assert "…" not in stages
    assert second == "500,000 queries (assumed: openwit queries wit400m has not made the list yet)"
    assert first.startswith("wit400m: 90,000 files of pairs, 27.0 TB (assumed")
    assert header.split() == "stage parts done to do core-h writes keeps".split()
    assert [line[: len(name)] for line, name in zip(lines, RATES, strict=False)] == list(RATES)
    rest = "\n".join([*lines[len(RATES) :], *after])
    assert all(
        part in rest for part in ("total", "up to selected/:", "core-hours left", "on 1,024 workers", "the crawl")
    )
    selected = [*forecast(dataclasses.replace(recipe, until="selected"), str(tmp_path), SNAPSHOT, [])]
    assert not any("crawl" in line for line in "\n".join(selected).splitlines()[2:])


def test_the_table_has_even_columns_and_adds_up() -> None:
    stages, known = tables([costs(), costs(stage="cap-windows", partitions=1, done=0, core_s=36.0, rows=500_000)])
    lines = stages.splitlines()
    assert lines[1].split() == "match 90,000 1 89,999 100.0 1.5 TB 13.5 billion pairs".split()
    assert "500,000 queries" in lines[2]
    assert lines[3].split() == ["total", "100.0", "3.0", "TB"]
    assert known.splitlines()[1].split() == "this run match, cap-windows".split()
    ends = [line.index("core-h") + len("core-h") for line in lines[:1]]
    assert [line[: ends[0]].split()[-1] for line in lines[1:]] == ["100.0", "0.01", "100.0"]


def test_numbers_are_told_as_a_person_says_them() -> None:
    assert [round_number(n) for n in (950.4, 12_300, 4.1e6, 13.5e9)] == ["950", "12,300", "4.1 million", "13.5 billion"]
    assert [hours(s) for s in (0, 90, 7200, 778_320)] == ["0.00", "0.03", "2.00", "216.2"]


def test_every_rate_is_a_guess_or_says_when_it_was_measured() -> None:
    assert [name for name, rate in RATES.items() if rate.known_from != GUESS and "20" not in rate.known_from] == []
