from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.memory import SIZES, MemberMemory


@given(st.lists(st.tuples(st.integers(SIZES.start, SIZES.start * 8), st.booleans()), max_size=60))
def test_what_was_not_taken_back_is_never_lent_again(requests):
    memory, kept = MemberMemory(), {}
    for number, (num_bytes, is_kept) in enumerate(requests):
        lent = memory.lend(num_bytes)
        assert len(lent) == num_bytes
        lent[:] = bytes([number]) * num_bytes
        if is_kept:
            kept[number] = lent
        else:
            memory.take_back(lent)
    assert all(lent == bytes([number]) * len(lent) for number, lent in kept.items())


def test_what_was_taken_back_is_lent_again_to_the_next_of_nearly_its_size():
    memory = MemberMemory()
    first = memory.lend(5000)
    place = first.obj
    memory.take_back(first)
    assert memory.lend(9000).obj is not place
    assert memory.lend(8000).obj is place
    assert memory.lend(8000).obj is not place


def test_reading_what_was_taken_back_is_an_error():
    memory = MemberMemory()
    lent = memory.lend(5000)
    memory.take_back(lent)
    with pytest.raises(ValueError, match="released"):
        lent[0]
