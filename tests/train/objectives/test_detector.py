# mypy: disable-error-code="arg-type, call-arg, union-attr"
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.detector import CONFIG, detector_job, recall, write_photos
from helpers.ranks import run_ranks
from helpers.shards import rewritten, uid_of
from helpers.training import alone, curve, newest, train_here
from models.detector.detector import Detector
from openwit.config import describe, override
from openwit.errors import ConfigError, InputError
from openwit.shards.samples import TarSample, Unusable
from train import loop
from train.checkpoints.checkpoints import load_model, load_state, load_weights
from train.checkpoints.layout import latest
from train.config import DetectorTrainingConfig
from train.data.examples import DecodedCache
from train.loop import objective_of
from train.loss import contrastive_loss
from train.objectives.detector import CopyPair, CopyPairBuilder, DetectorObjective


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, [20, 20])
    return folder


def trained(out: Any) -> Detector:
    model = Detector(CONFIG.model)
    load_weights(newest(str(out / "checkpoints")), model)
    return model.eval()


def builder(excluded: Any = ()) -> CopyPairBuilder:
    return CopyPairBuilder(3, 40, 32, frozenset(map(uid_of, excluded)), DecodedCache(0))


def sample(photos: Any, **changes: Any) -> TarSample:
    with rewritten(photos / "00000.tar") as members:
        parts = {name.partition(".")[2]: content for name, content in members.items() if name.startswith("000000000.")}
    members = parts | changes
    return TarSample("k", {name: content for name, content in members.items() if content is not None})


def test_the_defaults_are_the_papers() -> None:
    config = DetectorTrainingConfig()
    assert (config.batch_pairs, config.temperature, config.model.resnet.blocks) == (1712, 0.07, (3, 4, 6, 3))
    assert config.batch_pairs * config.num_steps(1) == pytest.approx(30e6, rel=1e-4)
    assert not [entry.path for entry in describe(config) if not entry.help]


def test_the_loss_is_the_n_pair_loss_at_temperature_007_by_hand() -> None:
    draws = np.random.default_rng(0)
    image, copy = (draws.normal(size=(5, 3)) for _ in range(2))
    image, copy = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (image, copy))
    similar = image @ copy.T / 0.07
    by_hand = 0.0
    for n in range(5):  # log(1 + sum over the negatives of exp(negative - positive)), over copies and over images
        for scores in (similar[n], similar[:, n]):
            by_hand += math.log1p(sum(math.exp(scores[j] - scores[n]) for j in range(5) if j != n)) / 10
    scale = Detector(CONFIG.model, CONFIG.temperature).scale
    sides = (torch.tensor(side, dtype=torch.float32) for side in (image, copy))
    assert contrastive_loss(*sides, scale).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_pair_is_an_image_and_a_copy_that_seed_epoch_and_key_decide(photos: Any) -> None:
    made = [builder().build(sample(photos), epoch) for epoch in (0, 0, 1)]
    assert all(isinstance(pair, CopyPair) for pair in made)
    assert all(part.shape == (32, 32, 3) for pair in made for part in (pair.pixels, pair.copy))
    assert np.array_equal(made[0].copy, made[1].copy)
    assert not np.array_equal(made[0].copy, made[2].copy)
    assert np.array_equal(made[0].pixels, made[2].pixels)


def test_images_without_text_are_used_and_excluded_or_broken_ones_say_why(photos: Any) -> None:
    assert isinstance(builder().build(sample(photos, txt=None, json=None), 0), CopyPair)
    assert builder(["000000000"]).build(sample(photos), 0).reason == "excluded"
    assert isinstance(builder().build(sample(photos, json=b"broken"), 0), CopyPair)
    for changes, reason in (({"jpg": None}, "image"), ({"jpg": b"broken"}, "image")):
        refused = builder().build(sample(photos, **changes), 0)
        assert isinstance(refused, Unusable)
        assert refused.reason == reason


def test_inputs_are_prepared_as_the_network_takes_them() -> None:
    objective = objective_of(CONFIG)
    assert isinstance(objective, DetectorObjective)
    one, other, scale = objective.build()(*objective.prepare(objective.blank()))
    assert one.shape == other.shape == (1, CONFIG.model.embed_dim)
    assert scale.item() == pytest.approx(1 / CONFIG.temperature)


def test_training_finds_more_copies_than_a_new_network(photos: Any, tmp_path: Path) -> None:
    torch.manual_seed(CONFIG.seed)
    before = recall(Detector(CONFIG.model).eval())
    with alone():
        train_here(detector_job(photos, tmp_path, ranks=1, duration="100 steps", warmup_steps=6, learning_rate=5e-3))
    after = recall(trained(tmp_path))
    assert after > before + 0.1, (before, after)
    losses = [record["loss"] for record in curve(tmp_path)]
    assert losses[-1] < losses[0]
    assert "logit_scale" not in curve(tmp_path)[0]


def test_a_stopped_training_goes_on_bit_for_bit(photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def stopping(now: int, every: int, num_steps: int) -> Any:
        if now == 5 and every == 1:
            raise Stop
        return now % every == 0 or now == num_steps

    jobs = [detector_job(photos, tmp_path / name, ranks=1) for name in ("a", "b")]
    with alone():
        train_here(jobs[0])
        monkeypatch.setattr(loop, "due", stopping)
        with pytest.raises(Stop):
            train_here(jobs[1])
        monkeypatch.undo()
        train_here(jobs[1])
    assert curve(tmp_path / "a") == curve(tmp_path / "b")
    assert len(curve(tmp_path / "a")) == CONFIG.num_steps(1)
    before, after = (trained(tmp_path / name).state_dict() for name in ("a", "b"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_two_ranks_learn_what_one_learns(photos: Any, tmp_path: Path) -> None:
    with alone():
        train_here(detector_job(photos, tmp_path / "one", ranks=1))
    run_ranks(train_here, 2, detector_job(photos, tmp_path / "two"), join_group=False)
    for record, other in zip(curve(tmp_path / "one"), curve(tmp_path / "two"), strict=True):
        assert other["loss"] == pytest.approx(record["loss"], abs=1e-4)
        assert other["samples"] == record["samples"]
    before = trained(tmp_path / "one").state_dict()
    for name, value in trained(tmp_path / "two").state_dict().items():
        torch.testing.assert_close(value, before[name], atol=1e-3, rtol=0)


def test_a_detectors_checkpoint_is_not_taken_for_a_clips(photos: Any, tmp_path: Path) -> None:
    with alone():
        train_here(detector_job(photos, tmp_path, ranks=1, duration="1 steps", warmup_steps=0))
    folder = latest(str(tmp_path / "checkpoints"))
    assert load_state(folder).config == override(CONFIG, {"ranks": "1", "duration": "1 steps", "warmup_steps": "0"})
    with pytest.raises(InputError, match="made by train-detector and holds no CLIP"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"temperature": "0"}, "the paper has 0.07"),
        ({"stream.resize_px": "31"}, "write 32"),
        ({"batch_pairs": "10"}, "write 8"),
    ],
)
def test_what_cannot_be_right_is_refused_with_what_to_write(change: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        override(CONFIG, change)
