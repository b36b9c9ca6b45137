from __future__ import annotations

import gc
import queue
import threading
from typing import Any

import numpy as np
import pytest
import torch

from helpers.photographs import photograph
from train.data.batches import BatchImages, DeviceImages, TensorPool

SHAPE = (3, 20, 20, 3)


def add_all(images: Any, squares: Any) -> Any:
    """Their batch, the last one added first."""
    for place in reversed(range(len(squares))):
        images.add(place, squares[place])
    return images.batch()


def test_a_batch_has_its_images_in_their_places_channels_last_wherever_they_were_decoded() -> None:
    squares = [np.asarray(photograph(24, 30, seed))[2:22, 5:25] for seed in range(3)]
    batch = add_all(BatchImages(TensorPool().acquire(SHAPE)), squares)
    assert batch.shape == (3, 3, 20, 20)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert all(np.array_equal(one.permute(1, 2, 0), square) for one, square in zip(batch, squares, strict=True))
    on_device = add_all(DeviceImages(3), [torch.tensor(square) for square in squares])
    assert torch.equal(on_device, batch)
    assert on_device.stride() == batch.stride()


def test_memory_is_used_again_once_no_tensor_lies_in_it() -> None:
    pool = TensorPool()
    acquired = pool.acquire(SHAPE)
    address = acquired.data_ptr()
    assert pool.acquire((2, 20, 20, 3)).data_ptr() != address
    del acquired
    gc.collect()
    assert pool.acquire(SHAPE).data_ptr() == address


@pytest.mark.parametrize(
    "part",
    [
        lambda acquired: acquired.permute(0, 3, 1, 2),
        lambda acquired: acquired[1:, :4][1, 2, 7:9],
        lambda acquired: acquired.numpy()[2],
        lambda acquired: torch.from_numpy(acquired.numpy()[1:]),
        lambda acquired: acquired.view(torch.int8).untyped_storage(),
        lambda acquired: BatchImages(acquired),
    ],
    ids=["permuted", "sliced", "numpy", "there and back", "storage", "images"],
)
def test_memory_of_which_any_part_is_in_use_is_not_given_again(part: Any) -> None:
    pool = TensorPool()
    acquired = pool.acquire(SHAPE)
    address = acquired.data_ptr()
    kept = part(acquired)
    del acquired
    gc.collect()
    assert pool.acquire(SHAPE).data_ptr() != address
    del kept


def test_what_is_given_while_another_thread_uses_and_drops_batches_is_never_theirs() -> None:
    pool, mixed = TensorPool(), []
    batches: queue.Queue[torch.Tensor | None] = queue.Queue(3)

    def use() -> None:
        while (batch := batches.get()) is not None:
            value = batch[0, 0, 0, 0]
            mixed.extend(["mixed"] * bool((batch != value).any()))

    users = [threading.Thread(target=use) for _ in range(2)]
    for user in users:
        user.start()
    addresses = set()
    for number in range(2000):
        batch = pool.acquire(SHAPE).fill_(number % 251)
        addresses.add(batch.data_ptr())
        batches.put(batch)
    for _ in users:
        batches.put(None)
    for user in users:
        user.join()
    assert mixed == []
    assert len(addresses) <= 3 + 2 + 2 + 1  # waiting, in use, just let go of, and being made
