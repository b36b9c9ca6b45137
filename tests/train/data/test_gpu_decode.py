from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.photographs import encoded, photograph, turned
from helpers.shards import write_shards
from helpers.training import CONFIG, batch_loader
from openwit.config import override
from openwit.errors import InputError
from train.data.batches import Cursor
from train.data.dataset import open_data_set
from train.data.decode import crop_square, decode_resized
from train.data.gpu_decode import decode_resized_on

DEVICES = [
    torch.device("cpu"),
    pytest.param(
        torch.device("cuda", 0), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    ),
]
GPU_DECODER = override(CONFIG, {"device": "cuda", "stream.decoder": "gpu"})


@pytest.fixture(params=DEVICES, ids=str)
def device(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(("height", "width"), [(256, 341), (500, 180), (64, 64), (30, 45)])
def test_pixels_are_within_a_grey_level_of_those_that_the_cpu_decodes(device: Any, height: int, width: int) -> None:
    data = encoded(photograph(height, width))
    image = decode_resized_on(device, data, 64)
    expected = decode_resized(data, 64, reduced=False)
    assert image.device == device
    assert image.dtype == torch.uint8
    assert tuple(image.shape) == expected.shape
    assert np.abs(image.cpu().numpy().astype(int) - expected).mean() < 1


def test_what_the_device_cannot_decode_is_decoded_by_the_cpu(device: Any) -> None:
    for data in (
        encoded(photograph(60, 80), "PNG"),
        encoded(photograph(60, 80).convert("CMYK")),
        turned(photograph(60, 80), 6),
    ):
        image = decode_resized_on(device, data, 32)
        assert image.device == device
        assert np.array_equal(image.cpu().numpy(), decode_resized(data, 32))


def test_a_grey_image_has_three_equal_colours(device: Any) -> None:
    image = decode_resized_on(device, encoded(photograph(60, 80).convert("L")), 32)
    assert image.shape == (32, 42, 3)
    assert torch.equal(image[..., 0], image[..., 2])


def test_a_broken_image_is_refused(device: Any) -> None:
    data = encoded(photograph(60, 80))
    for broken in (b"", b"<html>", *(data[:length] for length in range(0, len(data) - 2, 301))):
        with pytest.raises(InputError, match="not a readable image"):
            decode_resized_on(device, broken, 32)


def test_crops_are_those_of_the_same_places(device: Any) -> None:
    data = encoded(photograph(60, 80))
    image = decode_resized_on(device, data, 32)
    for number in (0, 5 << 32, 123456789012345):
        expected = crop_square(image.cpu().numpy(), 32, number)
        assert np.array_equal(crop_square(image, 32, number).cpu().numpy(), expected)  # type: ignore[union-attr]


def test_batches_have_the_keys_captions_and_order_of_those_that_the_cpu_decodes(device: Any, tmp_path: Path) -> None:
    write_shards(tmp_path, [9, 14, 12])
    data_set = open_data_set((str(tmp_path),))
    made = []
    for config in (CONFIG, GPU_DECODER):
        with batch_loader(data_set, config, 0, 1, Cursor(), device) as batches:
            made.append([next(batches) for _ in range(6)])
    for cpu, gpu in zip(*made, strict=True):
        assert gpu.keys == cpu.keys
        assert gpu.inputs[0].device == device
        assert torch.equal(gpu.inputs[1], cpu.inputs[1])
        assert (gpu.inputs[0].cpu().int() - cpu.inputs[0].int()).abs().float().mean() < 1
        assert len({image.numpy().tobytes() for image in gpu.inputs[0].cpu()}) > 1
