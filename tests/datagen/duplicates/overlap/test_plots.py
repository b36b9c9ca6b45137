from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from hypothesis import given
from hypothesis import strategies as st

from datagen.duplicates.overlap.accuracy import Accuracy, measure_accuracy
from datagen.duplicates.overlap.plots import overlap_and_accuracy, ticks


def accuracy(overlap: tuple[int, int], clean: tuple[int, int]) -> Accuracy:
    """Of (right, wrong) answers on each subset."""
    inside = {f"o{n}": n < overlap[0] for n in range(sum(overlap))}
    outside = {f"c{n}": n < clean[0] for n in range(sum(clean))}
    return measure_accuracy(inside | outside, list(inside))


def drawings(sets: list[tuple[str, float, Accuracy]]) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(drawing.svg) for drawing in overlap_and_accuracy(sets)]


def test_each_set_stands_in_both_panels_and_the_sure_one_is_full() -> None:
    sets = [("lucky", 0.5, accuracy((99, 1), (50, 50))), ("fair", 0.1, accuracy((5, 5), (45, 45)))]
    left, right = drawings(sets)
    for panel in (left, right):
        circles = {group.findtext("title", "").partition(":")[0]: group.find("circle") for group in panel.iter("g")}
        assert circles["lucky"].get("class") == "dot sure"  # type: ignore[union-attr]
        assert circles["fair"].get("class") == "dot "  # type: ignore[union-attr]
        assert {text.text for text in panel.iter("text")} >= {"lucky", "fair"}
    assert len([line for line in left.iter("line") if "error" in line.get("class", "")]) == 2
    assert not [line for line in right.iter("line") if "error" in line.get("class", "")]


def test_a_set_without_one_of_the_subsets_is_left_out() -> None:
    assert overlap_and_accuracy([("none", 0.0, accuracy((0, 0), (3, 1)))]) == []
    assert overlap_and_accuracy([("all", 1.0, accuracy((3, 1), (0, 0)))]) == []
    assert overlap_and_accuracy([]) == []


def test_names_are_escaped() -> None:
    for drawing in overlap_and_accuracy([("<b>", 0.5, accuracy((2, 1), (2, 2)))]):
        assert "<b>" not in drawing.svg
        assert "&lt;b&gt;" in drawing.svg


def test_of_many_sets_only_those_that_differ_are_named() -> None:
    sets = [(f"set{n}", 0.1, accuracy((5, 5), (45, 45))) for n in range(20)]
    lucky = ("lucky", 0.5, accuracy((99, 1), (50, 50)))
    html = "".join(drawing.svg for drawing in overlap_and_accuracy([*sets, lucky]))
    assert html.count(">lucky</text>") == 2
    assert ">set3</text>" not in html


@given(st.floats(-100, 100), st.floats(0, 100))
def test_ticks_are_few_round_and_enclose_both_ends(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert found[0] <= low + 1e-6
    assert found[-1] >= low + span - 1e-6
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))
