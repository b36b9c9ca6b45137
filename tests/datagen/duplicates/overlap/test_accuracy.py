from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from datagen.duplicates.overlap.accuracy import (
    CORRECT,
    NO_ANSWERS,
    at_least,
    clopper_pearson,
    measure_accuracy,
    read_answers,
)
from openwit import storage
from openwit.errors import InputError


def answers(right: int, wrong: int, name: str) -> dict[str, bool]:
    return {f"{name}{number}": number < right for number in range(right + wrong)}


def test_the_subsets_of_a_set_worked_out_by_hand() -> None:
    """8 of 10 right on the overlap, 45 of 90 on the clean images: all is 0.53, and p the sum of three terms."""
    overlap, clean = answers(8, 2, "o"), answers(45, 45, "c")
    found = measure_accuracy(overlap | clean, list(overlap))
    assert (found.num_all, found.num_overlap) == (100, 10)
    assert (found.all, found.overlap, found.clean) == (0.53, 0.8, 0.5)
    assert found.gain == pytest.approx(0.03)
    assert found.difference == pytest.approx(0.3)
    assert found.p_value == pytest.approx((45 + 10 + 1) / 1024)
    low, high = found.interval or (math.nan, math.nan)
    assert at_least(8, 10, low) == pytest.approx(0.0025)  # as many or more, half of 0.5%
    assert 1 - at_least(9, 10, high) == pytest.approx(0.0025)  # as many or fewer
    assert not found.differs


def test_no_overlap_has_neither_an_accuracy_of_it_nor_a_p_value() -> None:
    found = measure_accuracy(answers(3, 1, "c"), [])
    assert (found.all, found.clean, found.gain) == (0.75, 0.75, 0.0)
    assert (found.overlap, found.p_value, found.interval, found.difference, found.differs) == (*[None] * 4, False)


def test_all_overlap_has_no_clean_accuracy_to_compare_with() -> None:
    found = measure_accuracy(answers(3, 1, "o"), [f"o{n}" for n in range(4)])
    assert (found.all, found.overlap) == (0.75, 0.75)
    assert (found.clean, found.gain, found.p_value, found.difference_interval) == (None, None, None, None)
    assert found.interval == clopper_pearson(3, 4)


@pytest.mark.parametrize(("right", "p_value"), [(True, 0.5), (False, 1.0)])
def test_one_overlapping_image_gives_the_chance_itself_and_an_interval_that_says_next_to_nothing(
    right: bool, p_value: float
) -> None:
    found = measure_accuracy({"o": right} | answers(1, 1, "c"), ["o"])
    assert found.p_value == pytest.approx(p_value)
    low, high = found.interval or (math.nan, math.nan)
    assert (low, high) == pytest.approx((0.0025, 1.0) if right else (0.0, 0.9975))
    assert not found.differs


def test_a_sure_difference_leaves_out_zero() -> None:
    found = measure_accuracy(answers(99, 1, "o") | answers(50, 50, "c"), [f"o{n}" for n in range(100)])
    assert found.differs
    assert found.p_value is not None
    assert found.p_value < 1e-20


def test_an_overlapping_key_that_the_model_was_not_asked_about_does_not_count() -> None:
    assert measure_accuracy(answers(1, 1, "c"), ["c0", "elsewhere"]).num_overlap == 1


@given(st.integers(1, 300), st.data(), st.floats(0.001, 0.999))
def test_interval_and_p_value_are_those_of_scipys_binomial_test(
    trials: int, data: st.DataObject, chance: float
) -> None:
    hits = data.draw(st.integers(0, trials))
    assert at_least(hits, trials, chance) == pytest.approx(
        binomtest(hits, trials, chance, alternative="greater").pvalue, rel=1e-9
    )
    exact = binomtest(hits, trials).proportion_ci(0.995, method="exact")
    assert clopper_pearson(hits, trials) == pytest.approx((exact.low, exact.high), abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_all_is_the_mean_of_overlap_and_clean_by_their_sizes(images: list[tuple[bool, bool]]) -> None:
    correct = {str(n): right for n, (right, _) in enumerate(images)}
    found = measure_accuracy(correct, [str(n) for n, (_, inside) in enumerate(images) if inside])
    share = found.num_overlap / found.num_all
    assert found.all == pytest.approx(share * (found.overlap or 0) + (1 - share) * (found.clean or 0))


def write(folder: Path, name: str, keys: list[str]) -> None:
    table = pa.table([keys, [True] * len(keys)], schema=CORRECT)
    (folder / "correct").mkdir(exist_ok=True)
    pq.write_table(table, folder / "correct" / f"{name}.parquet")


def test_answers_are_read_for_the_sets_that_were_asked(tmp_path: Path) -> None:
    assert read_answers(str(tmp_path), ["a"]) == NO_ANSWERS
    write(tmp_path, "a", ["x", "y"])
    storage.write_json(str(tmp_path / "correct" / "model.json"), {"model": "step-1", "learned_all": False})
    found = read_answers(str(tmp_path), ["a", "b"])
    assert (found.model, found.learned_all, found.correct) == ("step-1", False, {"a": {"x": True, "y": True}})
    write(tmp_path, "a", ["x"])
    assert read_answers(str(tmp_path), ["a", "b"]).identity != found.identity


def test_a_key_that_is_answered_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a", ["x", "x"])
    storage.write_json(str(tmp_path / "correct" / "model.json"), {"model": "step-1", "learned_all": True})
    with pytest.raises(InputError, match="names a key twice"):
        read_answers(str(tmp_path), ["a"])
