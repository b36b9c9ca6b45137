from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import REASONS, OverlapConfig
from datagen.duplicates.overlap.accuracy import NO_ANSWERS, Answers
from datagen.duplicates.overlap.gallery import write_gallery
from datagen.duplicates.overlap.report import CheckedSet, measure, read_pairs
from datagen.duplicates.overlap.scan import OVERLAP
from helpers.crawled import jpeg, part, scene, write_manifest
from openwit import manifest as manifests

THRESHOLDS = {"max_distance64": 0.2, "max_distance256": 0.12, "min_score": 0.7}
SET = CheckedSet("birds", "birds.parquet", "0" * 64, 20, 21, THRESHOLDS)


def row(number: int, reason: str, score: float, caption: str = "a <bird>") -> dict[str, object]:
    return {
        "uid": f"{number:032x}", "uids": [f"{number:032x}"], "key": f"k{number}", "eval_set": "birds",
        "eval_key": f"e{number}", "reason": reason, "score": score, "caption": caption, "url": "http://host.test/",
        "color_distance": 3.2 if reason == "phash" else None, "shown": jpeg(scene(number, 32)),
    }  # fmt: skip


ROWS = [
    row(0, "sha256", 1.0), row(1, "phash", 0.95), row(2, "detector", 0.91), row(3, "phash", 0.89),
    row(4, "detector", 0.71), row(5, "pixels", 1.0),
]  # fmt: skip
NEAR = [row(6, "phash", 0.86), row(7, "detector", 0.69), row(8, "detector", 0.66)]


def plant(folder: Path, rows: list[dict[str, object]], near: list[dict[str, object]]) -> None:
    """duplicates/ as the stages leave it, with one set and one shard."""
    for name in ("pairs", "index/birds"):
        (folder / name).mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=OVERLAP), folder / "pairs" / "00000.parquet")
    pq.write_table(pa.Table.from_pylist(near, schema=OVERLAP), folder / "pairs" / "00000_near.parquet")
    known = [(f"e{number}", f"label {number}", jpeg(scene(number, 32))) for number in range(20)]
    index = pa.table([list(column) for column in zip(*known, strict=True)], names=["eval_key", "label", "shown"])
    pq.write_table(index, folder / "index" / "birds" / "00000.parquet")
    by_reason = {f"dropped.overlap_{reason}": [r["reason"] for r in rows].count(reason) for reason in REASONS}
    counts = {"in": 50, "kept": 50 - len(rows), **by_reason}
    names = ["00000.parquet", "00000_near.parquet"]
    write_manifest(folder / "pairs", "overlap", [part(folder / "pairs", 0, names, counts)])
    whole = part(folder / "index" / "birds", 0, ["00000.parquet"], {"in": 21, "kept": 20})
    write_manifest(folder / "index" / "birds", "overlap_index", [whole])


def page_of(
    folder: Path,
    rows: list[dict[str, object]],
    near: list[dict[str, object]],
    answers: Answers = NO_ANSWERS,
    most: int = 60,
) -> str:
    plant(folder, rows, near)
    pairs = manifests.read(str(folder / "pairs"))
    table = read_pairs(str(folder), pairs)
    report = measure(OverlapConfig(eval_sets=("birds=birds.parquet",)), [SET], pairs, table, answers)
    write_gallery(str(folder), report, table, most, {"read": 1.0, "hash": 3.0})
    return (folder / "report.html").read_text()


def captions(page: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)<br>", page)


def test_pairs_stand_by_stage_from_the_least_certain_with_those_below_the_threshold_before_it(tmp_path: Path) -> None:
    page = page_of(tmp_path, ROWS, NEAR)
    assert [text.split(" ·")[0] for text in captions(page)] == [
        "score 0.660", "score 0.690", "score 0.710", "score 0.910",
        "score 0.860, colours 3 apart", "score 0.890, colours 3 apart", "score 0.950, colours 3 apart",
        "the same pixels", "the same bytes",
    ]  # fmt: skip
    heads = re.findall(r"<h3>(.*?)</h3>", page)
    assert heads == [
        "Not counted, by the detector", "Counted by the detector: score of at least 0.700",
        "Not counted, by the hashes", "Counted by the hashes: score of at least 0.880, and the colours agree",
        "Counted: the same pixels", "Counted: the same bytes",
    ]  # fmt: skip


def test_a_page_shows_the_least_certain_where_there_are_more_than_asked_for(tmp_path: Path) -> None:
    page = page_of(tmp_path, ROWS, NEAR, most=3)
    assert [text.split(",")[0].split(" ·")[0] for text in captions(page)] == [
        "score 0.710", "score 0.910", "score 0.860", "score 0.890",
    ]  # fmt: skip
    assert "3 of 6, the least certain first" in page


def test_what_stands_in_captions_is_text(tmp_path: Path) -> None:
    assert "a &lt;bird&gt;" in page_of(tmp_path, ROWS, [])


def test_a_set_without_a_pair_says_so_and_one_with_near_misses_shows_them(tmp_path: Path) -> None:
    assert "None." in page_of(tmp_path / "none", [], [])
    assert captions(page_of(tmp_path / "near", [], NEAR[:1])) == ["score 0.860, colours 3 apart · e6, label 6"]


@pytest.mark.parametrize("learned_all", [True, False])
def test_accuracies_are_shown_where_a_model_was_asked(tmp_path: Path, learned_all: bool) -> None:
    correct = {f"e{number}": number % 3 != 0 for number in range(20)}
    answers = Answers(model="step-00000007", learned_all=learned_all, correct={"birds": correct}, identity="x")
    page = page_of(tmp_path, ROWS, [], answers)
    assert "Zero-shot accuracy of step-00000007" in page
    assert page.count("<svg") == 2
    assert ("trained without the overlap known then" in page) == (not learned_all)
    cells = re.findall(r"<tr><td>birds</td>(.*?)</tr>", page)[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", cells)[:2] == ["65.0%", "66.7%"]


def test_a_model_whose_answers_are_all_on_clean_images_has_nothing_to_compare(tmp_path: Path) -> None:
    correct = {f"e{number}": number % 3 != 0 for number in range(20)}
    answers = Answers(model="step-00000007", learned_all=True, correct={"birds": correct}, identity="x")
    page = page_of(tmp_path, [], [], answers)
    assert "there is nothing to compare" in page
    assert "<svg" not in page


def test_without_a_model_no_accuracy_is_claimed(tmp_path: Path) -> None:
    page = page_of(tmp_path, ROWS, [])
    assert "accuracy" not in page
    assert "<svg" not in page
    assert "<td>hash</td>" in page
