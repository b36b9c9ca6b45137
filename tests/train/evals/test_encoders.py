from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from train.evals.encoders import joined, own_places


@dataclass(frozen=True)
class Member:
    """One of a team whose rows are all known."""

    rank: int
    num_ranks: int
    rows: tuple[torch.Tensor, ...] = ()

    def gather(self, value: Any) -> Any:
        assert torch.equal(value, self.rows[self.rank])
        return list(self.rows)


@given(st.integers(0, 40), st.integers(1, 7), st.integers(1, 5))
def test_every_image_belongs_to_one_process_in_whole_batches_and_their_rows_come_back_in_order(
    num: int, size: int, num_ranks: int
) -> None:
    places = [own_places(num, size, Member(rank, num_ranks)) for rank in range(num_ranks)]
    assert sorted(place for own in places for place in own) == list(range(num))
    for own in places:
        batches = [own[start : start + size] for start in range(0, len(own), size)]
        assert all(batch[0] % size == 0 and len(batch) == min(size, num - batch[0]) for batch in batches)
    rows = tuple(torch.tensor([[place, 2 * place] for place in own]) for own in places)
    for rank in range(num_ranks):
        whole = joined(rows[rank], num, size, Member(rank, num_ranks, rows))
        assert whole.tolist() == [[place, 2 * place] for place in range(num)]
