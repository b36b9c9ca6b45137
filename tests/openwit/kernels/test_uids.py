from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openwit.errors import InputError
from openwit.kernels.uids import first_of_each, uid_halves, uid_texts

UID = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")


@given(st.lists(UID, max_size=10), st.integers(0, 3))
def test_halves_are_the_integers_of_the_digits_and_give_the_uid_back(uids: list[str], start: int) -> None:
    high, low = uid_halves(pa.array(uids, pa.string()).slice(start))
    assert [f"{a:016x}{b:016x}" for a, b in zip(high.tolist(), low.tolist(), strict=True)] == uids[start:]
    assert uid_texts(high, low).to_pylist() == uids[start:]


@pytest.mark.parametrize("odd", ["", "f" * 31, "f" * 33, "g" * 32, "F" * 32, " " * 32, "é" * 16, None])
def test_what_is_no_uid_is_shown(odd: str | None) -> None:
    with pytest.raises(InputError, match="expected 32 hex digits"):
        uid_halves(pa.array(["0" * 32, odd]))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=20))
def test_of_equal_uids_the_first_place_is_kept_in_the_order_of_uids(uids: list[tuple[int, int]]) -> None:
    high, low = (np.array([uid[half] for uid in uids], np.uint64) for half in (0, 1))
    assert first_of_each(high, low).tolist() == [uids.index(uid) for uid in sorted(set(uids))]
