from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import REASONS, OverlapConfig
from datagen.duplicates.overlap.accuracy import NO_ANSWERS, Answers
from datagen.duplicates.overlap.report import (
    CheckedSet,
    OverlapReport,
    exclusions,
    find_report,
    made_from,
    measure,
    points,
    shown,
    shown_p,
    write_tables,
)
from datagen.duplicates.overlap.scan import OVERLAP
from openwit import storage
from openwit.manifest import Manifest, Part

CONFIG = OverlapConfig(eval_sets=("a=a.parquet", "b=b.parquet"))
SETS = [CheckedSet(name, f"{name}.parquet", "0" * 64, 10, 11, {"max_distance256": 0.12}) for name in ("a", "b")]
ANSWERS = Answers(
    model="step-00000007", learned_all=True, identity="x",
    correct={"a": {f"e{n}": n < 5 for n in range(10)}, "b": {f"e{n}": True for n in range(10)}},
)  # fmt: skip


def row(eval_set: str, eval_key: str, uid: str, reason: str = "phash", score: float = 0.9) -> dict[str, object]:
    return {"eval_set": eval_set, "eval_key": eval_key, "uid": uid, "uids": [uid, f"{uid}+"], "key": uid,
            "reason": reason, "score": score}  # fmt: skip


ROWS = pa.Table.from_pylist(
    [
        row("a", "e0", "x", "sha256", 1.0), row("a", "e0", "y"), row("a", "e1", "z", "detector", 0.8),
        row("a", "e9", "x", "phash", 0.95),
    ],
    schema=OVERLAP,
).drop_columns(["shown"])  # fmt: skip


def pairs() -> Manifest:
    counts = {"in": 40, "kept": 36, "dropped.undecodable": 1, **{f"dropped.overlap_{reason}": 0 for reason in REASONS}}
    counts |= {"dropped.overlap_sha256": 1, "dropped.overlap_phash": 1, "dropped.overlap_detector": 1}
    return Manifest(
        stage="overlap", version=1, config={}, inputs={},
        parts=(Part(index=0, key="", rows=4, files=(), counts=counts),),
    )  # fmt: skip


def report(answers: Answers = NO_ANSWERS) -> OverlapReport:
    return measure(CONFIG, SETS, pairs(), ROWS, answers)


def test_shares_count_each_evaluation_image_once_and_pairs_by_stage() -> None:
    found = report()
    first, second = found.sets
    assert (first.overlapping, first.share, first.pairs, first.undecodable) == (3, 0.3, 4, 1)
    assert first.by_reason == {"sha256": 1, "pixels": 0, "phash": 2, "detector": 1}
    assert (second.overlapping, second.share, second.pairs) == (0, 0.0, 0)
    assert (found.mean_share, found.median_share) == (0.15, 0.15)
    assert (found.images_checked, found.images_overlapping, found.images_undecodable) == (40, 3, 1)
    assert (found.excluded_uids, found.model, first.accuracy) == (6, "", None)


def test_a_models_answers_are_split_by_the_overlap() -> None:
    first, second = (entry.accuracy for entry in report(ANSWERS).sets)
    assert first is not None
    assert second is not None
    assert (first.all, first.num_overlap, first.overlap, first.clean) == (0.5, 3, 2 / 3, 3 / 7)
    assert (second.all, second.clean, second.gain, second.overlap, second.p_value) == (1.0, 1.0, 0.0, None, None)
    lines = "\n".join(report(ANSWERS).lines())
    assert "set  zero-shot  without the overlap  gain      p" in lines
    assert "a        50.0%                42.9%  +7.1  0.394" in lines
    assert "b       100.0%               100.0%  +0.0    n/a" in lines


def test_exclusions_name_every_pair_of_an_image_once_a_set_by_its_surest_match() -> None:
    rows = exclusions(ROWS).to_pylist()
    assert [row["uid"] for row in rows] == ["x", "x+", "y", "y+", "z", "z+"]
    assert rows[0] == {"uid": "x", "eval_set": "a", "reason": "sha256", "score": 1.0, "image": "x"}
    assert [row["image"] for row in rows] == ["x", "x", "y", "y", "z", "z"]


def test_the_table_of_the_report_has_a_row_a_set_and_nulls_where_nothing_is_known(tmp_path: Path) -> None:
    write_tables(str(tmp_path), report(ANSWERS), ROWS)
    first, second = pq.read_table(tmp_path / "report.parquet").to_pylist()
    assert (first["name"], first["share"], first["pairs_detector"], first["accuracy_all"]) == ("a", 0.3, 1, 0.5)
    assert 0 < first["accuracy_overlap_low"] < first["accuracy_overlap"] < first["accuracy_overlap_high"] < 1
    assert (second["accuracy_overlap"], second["accuracy_p_value"], second["accuracy_overlap_low"]) == (
        None,
        None,
        None,
    )
    write_tables(str(tmp_path), report(), ROWS)
    assert pq.read_table(tmp_path / "report.parquet")["accuracy_all"].null_count == 2


def test_another_answer_makes_another_report_and_the_same_one_is_found(tmp_path: Path) -> None:
    marks = {made_from(CONFIG, SETS, pairs(), answers) for answers in (NO_ANSWERS, ANSWERS)}
    changed = dataclasses.replace(SETS[0], thresholds={"max_distance256": 0.1})
    marks |= {made_from(CONFIG, [changed, SETS[1]], pairs())}
    assert len(marks) == 3
    made = report(ANSWERS)
    storage.write_bytes(str(tmp_path / "report.json"), made.to_json().encode())
    assert find_report(str(tmp_path), made.made_from) == made
    assert find_report(str(tmp_path), "another") is None


def test_numbers_are_shown_as_a_person_reads_them() -> None:
    assert [shown(0.4125), shown(None)] == ["41.2%", "n/a"]
    assert [points(-0.0061), points(0.006), points(None)] == ["−0.6", "+0.6", "n/a"]
    assert [shown_p(0.0001), shown_p(0.04), shown_p(None)] == ["< 0.001", "0.040", "n/a"]
