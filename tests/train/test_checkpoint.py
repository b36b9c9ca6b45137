from __future__ import annotations

import pytest
import torch

import models
from helpers.training import CONFIG, MODEL
from models.clip import Clip
from openwit.errors import InputError
from train import checkpoint
from train.batches import Cursor
from train.checkpoint_files import latest, steps
from train.lanes import LaneCursor
from train.optimizer import build_optimizer, state_by_name


@pytest.fixture
def trained():
    torch.manual_seed(0)
    model = Clip(MODEL)
    optimizer = build_optimizer(model, CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


def save(folder, step, trained, keep_last=2):
    state = checkpoint.State(config=CONFIG, cursor=Cursor(step, {3: LaneCursor(7, {"image": 2})}))
    checkpoint.save(str(folder), state, *trained, keep_last)
    return state


def test_weights_statistics_and_state_come_back_bit_for_bit(tmp_path, trained):
    state = save(tmp_path, 5, trained)
    folder = latest(str(tmp_path))
    model = Clip(MODEL)
    optimizer = build_optimizer(model, CONFIG)
    checkpoint.load_weights(folder, model)
    checkpoint.load_optimizer(folder, model, optimizer)
    assert checkpoint.load_state(folder) == state
    for one, other in ((m.state_dict(), state_by_name(o, m)) for m, o in (trained, (model, optimizer))):
        assert one.keys() == model.state_dict().keys()
        assert other
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in trained[0].state_dict().items())
    kept = state_by_name(optimizer, model)
    assert all(torch.equal(value, kept[name]) for name, value in state_by_name(trained[1], trained[0]).items())


def test_the_newest_are_kept_and_nothing_else_is_left(tmp_path, trained):
    for step in (4, 8, 12):
        save(tmp_path, step, trained)
    assert steps(str(tmp_path)) == [8, 12]
    assert latest(str(tmp_path)).endswith("step-00000012")
    assert {path.name for path in tmp_path.iterdir()} == {".scratch", "step-00000008", "step-00000012"}
    assert not list((tmp_path / ".scratch").iterdir())


def test_a_folder_without_checkpoints_or_none_at_all_has_no_latest(tmp_path):
    assert latest(str(tmp_path)) is None
    assert latest(str(tmp_path / "nothing")) is None
    (tmp_path / ".scratch" / "openwit-x" / "step-00000009").mkdir(parents=True)
    (tmp_path / "step-9").mkdir()
    assert latest(str(tmp_path)) is None


def test_the_evaluated_model_is_the_trained_one(tmp_path, trained):
    save(tmp_path, 5, trained)
    model = checkpoint.load_model(latest(str(tmp_path)))
    assert not model.training
    image, tokens = torch.randn(2, 3, 16, 16), torch.tensor([[49406, 5, 49407], [49406, 9, 49407]])
    assert torch.equal(model.encode_image(image), trained[0].encode_image(image))
    assert torch.equal(model.encode_text(tokens), trained[0].encode_text(tokens))


def test_a_checkpoint_is_a_model_that_anyone_can_load(tmp_path, trained):
    save(tmp_path, 5, trained)
    model = models.load(latest(str(tmp_path)))
    assert model.config == MODEL
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in trained[0].state_dict().items())


def test_what_is_no_checkpoint_or_a_damaged_one_is_named(tmp_path, trained):
    with pytest.raises(InputError, match="is no checkpoint"):
        checkpoint.load_model(str(tmp_path))
    save(tmp_path, 5, trained)
    folder = latest(str(tmp_path))
    weights = tmp_path / "step-00000005" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        checkpoint.load_model(folder)
    (tmp_path / "step-00000005" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="is no training state"):
        checkpoint.load_model(folder)
