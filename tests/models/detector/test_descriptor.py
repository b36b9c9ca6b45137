from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from models.detector.config import DetectorConfig, DetectorResNetConfig
from models.detector.descriptor import IMAGENET_MEAN, IMAGENET_STD, load_descriptor, squeeze
from models.detector.detector import Detector
from models.preprocess import normalize_pixels
from openwit.errors import ConfigError, InputError
from openwit.images import decode_reduced

CONFIG = DetectorConfig(image_px=32, embed_dim=8, resnet=DetectorResNetConfig(blocks=(1, 1), width=4))


class Plain(nn.Module):
    """A network in another style: one convolution, not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 5, stride=4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).flatten(2).mean(2) * 3  # type: ignore[no-any-return]


def detector(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    return Detector(CONFIG)


def folder_of(path: Any, model: Any) -> Any:
    path.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path / "model.safetensors")
    (path / "config.json").write_bytes(msgspec.json.encode({"detector": model.config}))
    return str(path)


def images(num: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (num, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


def encoded(extension: str, height: int = 96, width: int = 128) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(extension, image)[1].tobytes()


def test_the_folder_that_training_writes_gives_the_networks_own_vectors(tmp_path: Path) -> None:
    model = detector()
    loaded = load_descriptor(folder_of(tmp_path / "mine", model))
    assert (loaded.name, loaded.image_px, loaded.dim, loaded.device.type) == ("mine", 32, 8, "cpu")
    expected = model.embed(normalize_pixels(images()))
    torch.testing.assert_close(loaded.embed(images()), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(loaded.embed(images().numpy()), expected, atol=1e-6, rtol=1e-5)


def test_the_batch_changes_no_vector(tmp_path: Path) -> None:
    loaded = load_descriptor(folder_of(tmp_path / "mine", detector()))
    alone = torch.cat([loaded.embed(one[None]) for one in images()])
    torch.testing.assert_close(loaded.embed(images()), alone, atol=1e-6, rtol=1e-5)


def test_the_digest_differs_where_weights_or_pixels_are_treated_differently(tmp_path: Path) -> None:
    one = load_descriptor(folder_of(tmp_path / "a", detector())).digest
    same = load_descriptor(folder_of(tmp_path / "b", detector())).digest
    other = load_descriptor(folder_of(tmp_path / "c", detector(1))).digest
    notes = {"detector": msgspec.to_builtins(CONFIG), "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    (tmp_path / "a" / "config.json").write_text(json.dumps(notes))
    assert one == same
    assert len({one, other, load_descriptor(str(tmp_path / "a")).digest}) == 3


def test_a_torchscript_file_equals_the_module_that_it_was_made_of(tmp_path: Path) -> None:
    path = tmp_path / "sscd.torchscript.pt"
    module = Plain().eval()
    torch.jit.script(module).save(str(path))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    assert load_descriptor(str(path)).image_px == 288
    path.with_suffix(".json").write_text('{"image_px": 32}')
    loaded = load_descriptor(str(path))
    assert (loaded.name, loaded.image_px, loaded.dim) == ("sscd.torchscript", 32, 6)
    expected = F.normalize(module((images().float() / 255 - mean) / std), dim=1)
    torch.testing.assert_close(loaded.embed(images()), expected.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_state_dict_is_read_into_the_network_that_its_notes_name(tmp_path: Path, suffix: str) -> None:
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(num_classes=4).eval()
    path = tmp_path / f"weights{suffix}"
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    notes = {"torchvision": "squeezenet1_1", "embed_dim": 4, "image_px": 32, "mean": [0, 0, 0], "std": [1, 1, 1]}
    path.with_suffix(".json").write_text(json.dumps(notes))
    expected = F.normalize(model(images().float() / 255), dim=1)
    torch.testing.assert_close(load_descriptor(str(path)).embed(images()), expected.detach())


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"weight": Evil()}, path)
    path.with_suffix(".json").write_text(json.dumps({"detector": msgspec.to_builtins(CONFIG)}))
    with pytest.raises(InputError, match=r"evil\.pt: cannot be read"):
        load_descriptor(str(path))
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_or_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing: no such descriptor"):
        load_descriptor(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json: no such file; expected a folder that train-detector wrote"):
        load_descriptor(str(tmp_path / "empty"))
    (tmp_path / "detector").mkdir()
    folder_of(tmp_path / "detector" / "model", detector())
    with pytest.raises(InputError, match=r"detector: holds the training of a detector; give .*/detector/model"):
        load_descriptor(str(tmp_path / "detector"))
    folder = tmp_path / "mine"
    folder_of(folder, detector())
    lone = tmp_path / "lone.safetensors"
    lone.write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"lone\.json: a state dict needs its network named"):
        load_descriptor(str(lone))
    lone.with_suffix(".json").write_text('{"torchvision": "resnet49", "embed_dim": 3}')
    with pytest.raises(ConfigError, match="torchvision=resnet49"):
        load_descriptor(str(lone))
    lone.with_suffix(".json").write_text('{"image_size": 3}')
    with pytest.raises(ConfigError, match="image_size"):
        load_descriptor(str(lone))
    (folder / "config.json").write_text(json.dumps({"detector": {"image_px": 32, "embed_dim": 8}}))
    with pytest.raises(InputError, match=r"model\.safetensors: does not fit the network"):
        load_descriptor(str(folder))
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        load_descriptor(str(folder))


def test_an_image_is_squeezed_whole_into_the_square_whatever_its_shape(tmp_path: Path) -> None:
    loaded = load_descriptor(folder_of(tmp_path / "mine", detector()))
    rows = np.zeros((60, 200, 3), np.uint8)
    rows[:, 100:] = (255, 128, 0)
    made = loaded.prepare(rows)
    assert made.shape == (3, 32, 32)
    assert made.flags["C_CONTIGUOUS"]
    assert made[:, 5, 3].tolist() == [0, 0, 0]
    assert made[:, 5, 28].tolist() == [255, 128, 0]
    assert squeeze(rows[:8, :8], 32).shape == (32, 32, 3)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp"])
def test_encoded_images_of_any_kind_are_prepared_alike(tmp_path: Path, extension: str) -> None:
    loaded = load_descriptor(folder_of(tmp_path / "mine", detector()))
    exact = np.asarray(Image.open(io.BytesIO(encoded(".png"))).convert("RGB"))
    made, expected = (part.astype(float) for part in (loaded.prepare(encoded(extension)), loaded.prepare(exact)))
    assert np.abs(made - expected).mean() < 4


@pytest.mark.parametrize(("side", "shorter"), [(32, 32), (63, 63), (64, 32), (130, 33), (600, 75)])
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_keeps_the_sides(side: int, shorter: int) -> None:
    image = decode_reduced(encoded(".jpg", side, side * 2), 32)
    assert min(image.shape[:2]) == shorter


def test_jpegs_are_turned_upright_and_broken_ones_refused() -> None:
    image = Image.new("RGB", (64, 48), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 32, 48))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise shows it right
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    upright = decode_reduced(buffer.getvalue(), 1000)
    assert upright.shape == (64, 48, 3)
    assert upright[10, 24, 0] > 200
    assert upright[54, 24, 2] > 200
    for broken in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + b"rubbish" * 30, b"<html>", b""):
        with pytest.raises(InputError, match="not a readable image"):
            decode_reduced(broken, 32)
