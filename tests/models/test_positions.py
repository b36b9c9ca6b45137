from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from models.positions import resize_positions


@pytest.mark.parametrize(("old", "new"), [(16, 24), (24, 16), (7, 14), (3, 5)])
def test_positions_are_interpolated_as_open_clip_does(old: int, new: int) -> None:
    open_clip = pytest.importorskip("open_clip.model")
    positions_PW = torch.randn(1 + old**2, 6, generator=torch.Generator().manual_seed(0))
    weights = {"visual.positional_embedding": positions_PW}
    open_clip.resize_pos_embed(weights, SimpleNamespace(visual=SimpleNamespace(grid_size=(new, new))))
    resized = resize_positions(positions_PW, new)
    torch.testing.assert_close(resized, weights["visual.positional_embedding"], atol=1e-6, rtol=0)
    assert torch.equal(resized[0], positions_PW[0])


def test_the_same_grid_gives_the_same_tensor() -> None:
    positions_PW = torch.randn(10, 4)
    assert resize_positions(positions_PW, 3) is positions_PW


def test_positions_of_half_precision_stay_so() -> None:
    assert resize_positions(torch.randn(10, 4, dtype=torch.float16), 4).dtype == torch.float16


def test_places_that_make_no_square_are_refused_with_their_shape() -> None:
    with pytest.raises(ValueError, match=r"\(9, 4\): expected 1 \+ a square number"):
        resize_positions(torch.randn(9, 4), 2)
