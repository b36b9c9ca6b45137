from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import models
from helpers.shards import write_shards
from helpers.training import MODEL, alone, curve, job, train_here
from models.clip import Clip
from models.config import ClipConfig, ResNetConfig
from openwit.errors import ConfigError, InputError
from train.checkpoints.layout import folder_of
from train.job import make_record, on_this_machine, require_same
from train.objectives.warm_start import initial_digest, warm_start

AT_24 = dataclasses.replace(MODEL, vision=dataclasses.replace(MODEL.vision, image_px=24))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of other weights than a new training's."""
    torch.manual_seed(99)
    path = tmp_path_factory.mktemp("models") / "begun"
    models.save(Clip(MODEL), str(path))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder, [16, 20])
    return folder


def new(config: ClipConfig) -> Clip:
    torch.manual_seed(1)
    return Clip(config).eval()


def logits(model: Clip) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    side = model.config.vision.image_px
    tokens = torch.tensor([[49406, 7, 49407, 0], [49406, 320, 1125, 49407], [49406, 9, 9, 49407]])
    image_BD, text_BD, scale = model(torch.randn(3, 3, side, side, generator=random), tokens)
    return scale * image_BD @ text_BD.T  # type: ignore[no-any-return]


def test_at_its_own_resolution_a_training_begins_with_the_models_logits(begun: Path) -> None:
    model = new(MODEL)
    before = logits(model)
    warm_start(model, str(begun))
    assert torch.equal(logits(model), logits(models.load(str(begun))))
    assert not torch.allclose(logits(model), before)


def test_at_another_resolution_it_begins_with_the_model_resized(begun: Path) -> None:
    model, resized = new(AT_24), models.load(str(begun))
    warm_start(model, str(begun))
    resized.resize_image(24)
    assert torch.equal(logits(model), logits(resized))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_training_at_another_resolution_resumes_without_the_model_that_it_began_with(
    begun: Path, data: Path, tmp_path: Path
) -> None:
    changes = {"model__vision__image_px": 24, "stream__resize_px": 26, "duration": "4 steps", "save_every": 2}
    gone = shutil.copytree(begun, tmp_path / "gone")
    undisturbed, resumed = tmp_path / "undisturbed", tmp_path / "resumed"
    with alone():
        for out in (undisturbed, resumed):
            train_here(job(data, out, ranks=1, initial=gone, **changes))
        train_here(job(data, tmp_path / "new", ranks=1, **changes))
        shutil.rmtree(gone)
        shutil.rmtree(folder_of(str(resumed / "checkpoints"), 4))
        train_here(job(data, resumed, ranks=1, initial=gone, **changes))
    assert curve(resumed) == curve(undisturbed)
    assert len(curve(resumed)) == 4
    assert curve(tmp_path / "new")[0]["loss"] != curve(undisturbed)[0]["loss"]


@pytest.mark.parametrize(
    ("path", "changed", "message"),
    [
        ("embed_dim", {"embed_dim": 32}, r"model\.embed_dim=32: .* has 16; write --pretrain\.model\.embed_dim 16"),
        ("vision", {"vision": dataclasses.replace(MODEL.vision, width=24)}, r"--pretrain\.model\.vision\.width 16"),
        ("text", {"text": dataclasses.replace(MODEL.text, layers=2)}, r"write --pretrain\.model\.text\.layers 1"),
        (
            "preprocess", {"preprocess": dataclasses.replace(MODEL.preprocess, mean=(0.5, 0.5, 0.5))},
            r"write --pretrain\.model\.preprocess\.mean 0\.48145466,0\.4578275,0\.40821073",
        ),
        (
            "kind", {"vision": ResNetConfig(image_px=32, layers=(1, 1, 1, 1), width=8, heads=4)},
            r"its image tower is of VisionTransformer, pretrain\.model's of ResNet",
        ),
        ("activation", {"activation": "gelu"}, "activation=gelu: .* says quick_gelu"),
    ],
)  # fmt: skip
def test_a_model_of_other_sizes_is_refused_with_what_to_write(
    path: str, changed: dict[str, Any], message: str, begun: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        warm_start(new(dataclasses.replace(MODEL, **changed)), str(begun))


def test_what_is_no_model_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "nothing")) + ".*no such file"):
        initial_digest(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="holds no model"):
        initial_digest(str(tmp_path))


def test_a_resume_with_another_model_under_the_same_name_is_refused(begun: Path, data: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(begun, tmp_path / "model"))
    before = make_record(job(data, tmp_path / "out", initial=here))
    require_same(before, make_record(job(data, tmp_path / "out", initial=here)))
    torch.manual_seed(100)
    shutil.rmtree(here)
    models.save(Clip(MODEL), str(here))
    with pytest.raises(ConfigError, match="the model to begin with changed"):
        require_same(before, make_record(job(data, tmp_path / "out", initial=here)))


def test_a_file_of_weights_has_a_digest_too(begun: Path, tmp_path: Path) -> None:
    one = Path(shutil.copy(begun / "model.safetensors", tmp_path / "one.safetensors"))
    other = Path(shutil.copy(begun / "config.json", tmp_path / "other.safetensors"))
    assert initial_digest(str(one)) != initial_digest(str(other))


def test_the_model_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there = on_this_machine(job(tmp_path / "data", tmp_path / "out", initial="begun"))
    assert there.config.initial == str(tmp_path / "begun")  # type: ignore[union-attr]
