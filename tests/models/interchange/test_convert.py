"""Every format there and back, what tells them apart, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
from helpers.clips import RESNET, VIT, inputs, random_clip, same_weights
from helpers.places import ROOT
from models.clip import Clip
from models.config import ClipConfig, PreprocessConfig
from models.interchange.convert import load, save
from openwit.errors import ConfigError, InputError, WorkError

GELU = dataclasses.replace(
    VIT,
    activation="gelu",
    preprocess=PreprocessConfig(
        mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), interpolation="bilinear", resize_mode="squash"
    ),
)


@pytest.fixture
def vit() -> Clip:
    return random_clip(VIT)


@pytest.mark.parametrize(
    ("config", "to"),
    [(config, to) for config in (VIT, RESNET) for to in ("openwit", "openai", "open_clip")]
    + [(VIT, "huggingface"), (GELU, "openwit"), (GELU, "open_clip"), (GELU, "huggingface")],
)
def test_what_is_saved_is_loaded_again_bit_for_bit_with_its_config(tmp_path: Path, config: ClipConfig, to: Any) -> None:
    model = random_clip(config)
    save(model, tmp_path / "saved", to)
    found = load(tmp_path / "saved")
    assert found.config == config
    assert same_weights(model, found)
    assert not found.training
    for mine, other in zip(model(*inputs(config)), found(*inputs(config)), strict=True):
        torch.testing.assert_close(other, mine, atol=1e-6, rtol=0)


def test_a_model_goes_through_all_formats_in_a_row_unchanged(tmp_path: Path, vit: Clip) -> None:
    model = vit
    for to in ("openai", "huggingface", "open_clip", "openwit"):
        save(model, tmp_path / to, to)
        model = models.load(str(tmp_path / to))
    assert same_weights(vit, model)
    assert model.config == VIT


def test_half_precision_weights_are_read_as_fp32(tmp_path: Path, vit: Clip) -> None:
    torch.save({name: tensor.half() for name, tensor in vit.state_dict().items()}, tmp_path / "half.pt")
    found = load(tmp_path / "half.pt", activation="quick_gelu")
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
    assert torch.equal(found.visual.proj, vit.visual.proj.half().float())  # type: ignore[arg-type]


def test_a_resnet_keeps_the_memory_layout_of_its_tower(tmp_path: Path) -> None:
    model = random_clip(RESNET)
    save(model, tmp_path / "saved")
    found = load(tmp_path / "saved")
    for mine, read in zip(model.parameters(), found.parameters(), strict=True):
        assert mine.stride() == read.stride()


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    model = random_clip(RESNET)
    weights = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    torch.save(weights, tmp_path / "a.pt")
    assert same_weights(model, load(tmp_path / "a.pt", activation="quick_gelu"))


def test_weights_of_towers_chosen_apart_and_of_distributed_training_are_read(tmp_path: Path, vit: Clip) -> None:
    kept = ("visual.", "logit_scale")
    apart = {n if n.startswith(kept) else f"text.{n}": tensor for n, tensor in vit.state_dict().items()}
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in apart.items()}}, tmp_path / "epoch_9.pt")
    assert same_weights(vit, load(tmp_path / "epoch_9.pt", activation="quick_gelu"))


def test_weights_alone_need_the_activation_and_the_error_says_what_to_write(tmp_path: Path, vit: Clip) -> None:
    save_file(vit.state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"does not say its activation; write --activation quick_gelu .* gelu"):
        load(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors", activation="gelu").config.activation == "gelu"


def test_the_wrong_activation_gives_other_features(tmp_path: Path, vit: Clip) -> None:
    save_file(vit.state_dict(), tmp_path / "a.safetensors")
    image, tokens = inputs(VIT)
    right, wrong = (load(tmp_path / "a.safetensors", activation=name) for name in ("quick_gelu", "gelu"))
    assert torch.equal(right.encode_image(image), vit.encode_image(image))
    assert (wrong.encode_image(image) - vit.encode_image(image)).abs().max() > 1e-5
    assert (wrong.encode_text(tokens) - vit.encode_text(tokens)).abs().max() > 1e-5


@pytest.mark.parametrize("to", ["openwit", "openai", "open_clip", "huggingface"])
def test_an_activation_against_what_the_files_say_is_refused(tmp_path: Path, vit: Clip, to: str) -> None:
    save(vit, tmp_path / "saved", to)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"activation=gelu: .* says quick_gelu"):
        load(tmp_path / "saved", activation="gelu")
    assert load(tmp_path / "saved", activation="quick_gelu").config == VIT


WEIGHTS_FILE = {
    "openwit": "model.safetensors", "open_clip": "open_clip_model.safetensors", "huggingface": "model.safetensors"
}  # fmt: skip


@pytest.mark.parametrize("to", WEIGHTS_FILE)
def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path: Path, vit: Clip, to: Any) -> None:
    save(vit, tmp_path / "saved", to)
    path = tmp_path / "saved" / WEIGHTS_FILE[to]
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("out_proj.weight"))
    save_file(tensors | {name: torch.zeros(7, 64)}, path)
    width = tensors[name].shape[0]
    with pytest.raises(InputError, match=rf"{path.name}: {name} is 7x64, expected {width}x{width}"):
        load(tmp_path / "saved")


@pytest.mark.parametrize("to", WEIGHTS_FILE)
def test_missing_and_unexpected_tensors_are_named(tmp_path: Path, vit: Clip, to: Any) -> None:
    save(vit, tmp_path / "saved", to)
    path = tmp_path / "saved" / WEIGHTS_FILE[to]
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("out_proj.weight"))
    save_file({other: tensor for other, tensor in tensors.items() if other != name}, path)
    with pytest.raises(InputError, match=rf"lacks {name}; this network has \d+ tensors"):
        load(tmp_path / "saved")
    save_file(tensors | {"logit_bias": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds logit_bias, for which this network has no place"):
        load(tmp_path / "saved")


def test_no_cut_file_is_loaded(tmp_path: Path, vit: Clip) -> None:
    save(vit, tmp_path / "a.pt", "openai")
    save(vit, tmp_path / "folder")
    for path in (tmp_path / "a.pt", tmp_path / "folder" / "model.safetensors"):
        path.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(InputError, match=path.name):
            load(path if path.parent == tmp_path else path.parent)


def test_folders_that_hold_no_model_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"holds no model; expected .*step-NNNNNNNN"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"job": {}}))
    with pytest.raises(InputError, match="holds no model"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json: is no JSON object"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model": {}, "logit_scale": 1}))
    with pytest.raises(InputError, match="ONNX graphs, which can't be read back"):
        load(tmp_path)


def test_a_folder_without_its_weights_names_the_file(tmp_path: Path, vit: Clip) -> None:
    for to, name in WEIGHTS_FILE.items():
        save(vit, tmp_path / to, to)  # type: ignore[arg-type]
        (tmp_path / to / name).unlink()
        with pytest.raises(InputError, match=rf"{name}: no such file"):
            load(tmp_path / to)
        shutil.rmtree(tmp_path / to)


FORMATS = ("openwit", "openai", "open_clip", "huggingface")


@pytest.mark.parametrize("to", FORMATS)
def test_what_exists_is_never_written_over(tmp_path: Path, to: Any) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match="there: exists already; delete it, or give another target"):
        save(random_clip(VIT), tmp_path / "there", to)
    assert (tmp_path / "there").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("to", FORMATS)
def test_only_the_target_is_left_in_its_folder_which_is_made(tmp_path: Path, to: Any) -> None:
    save(random_clip(VIT), tmp_path / "new" / "model.pt", to)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="to=tensorflow: unknown format; there are openwit, openai"):
        save(random_clip(VIT), tmp_path / "model", "tensorflow")  # type: ignore[arg-type]


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match=r"file/model: cannot be written"):
        save(random_clip(VIT), tmp_path / "file" / "model")


FULL_DISK = """
import resource, signal, sys
from helpers.clips import VIT, random_clip
from models.interchange.convert import save
from openwit.errors import WorkError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = random_clip(VIT)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for to in sys.argv[2:]:
    try:
        save(model, f"{sys.argv[1]}/{to}", to)
    except WorkError as error:
        print(error)
"""


def test_a_disk_that_fills_up_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    root = ROOT
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), *FORMATS],
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"},
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(FORMATS)
    for line, to in zip(lines, FORMATS, strict=True):
        assert line.startswith(f"{tmp_path}/{to}: cannot be written (")
    assert list(tmp_path.iterdir()) == []
