from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from helpers.ranks import run_ranks
from helpers.training import CONFIG, MODEL
from models.clip import Clip
from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from models.tokenizer.tokenizer import Tokenizer
from openwit.errors import ConfigError, InputError
from train.evals.config import EvaluateConfig, LinearProbeConfig, ZeroShotConfig
from train.evals.suite import Periodic, Scores, Suite


@pytest.mark.slow
def test_a_small_clip_goes_through_every_evaluation_and_comes_back_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Clip(
        ClipConfig(
            embed_dim=8,
            vision=VisionTransformerConfig(image_px=8, patch_px=4, width=8, layers=1, heads=2),
            text=TextConfig(context_length=12, width=8, layers=1, heads=2),
        )
    )
    encoded = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(encoded, "PNG")
    rows = {"key": ["1", "2"], "image": [encoded.getvalue()] * 2, "label": ["red", "blue"]}
    pq.write_table(pa.table(rows), tmp_path / "colours.parquet")
    config = EvaluateConfig(zero_shot_set=str(tmp_path / "colours.parquet"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores = Suite(config).run(model, Tokenizer(12), model.preprocess)
    assert (scores["zero_shot"]["num_images"], scores["zero_shot"]["num_classes"]) == (2.0, 2.0)
    assert scores["zero_shot"]["top1"] == 0.5  # both images get the same answer, and one of them is right
    assert scores["digits"]["accuracy"] > 0.3  # chance is 0.1; the features of random weights still tell some apart
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert Suite(EvaluateConfig(digits=False)).run(model, Tokenizer(12), model.preprocess) == {}


COLOURS = ("red", "green", "blue", "white")


def write_set(folder: Path, num: int) -> str:
    """Images of noise, so that a model of random weights finds some of their names."""
    noise = np.random.default_rng(0)
    encoded = []
    for _ in range(num):
        file = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (5, 4, 3), np.uint8)).resize((20, 18)).save(file, "PNG")
        encoded.append(file.getvalue())
    labels = [COLOURS[place % 4] for place in range(num)]
    table = pa.table({"key": [str(place) for place in range(num)], "image": encoded, "label": labels})
    pq.write_table(table, folder / "set.parquet")
    return str(folder / "set.parquet")


def scores_of_one_model(images: str, digits: bool) -> Scores:
    import torch.distributed as dist

    from train.ranks import Ranks

    torch.manual_seed(0)
    model = Clip(MODEL)
    evals = EvaluateConfig(
        zero_shot_set=images,
        zero_shot=ZeroShotConfig(prompts=("{label}", "a photo of {label}"), batch_images=3),
        digits=digits,
        linear_probe=LinearProbeConfig(batch_images=50),
    )
    periodic = Periodic(CONFIG, evals)
    if not dist.is_initialized():
        return periodic.run(model)
    return periodic.run(model, Ranks(dist.get_rank(), dist.get_world_size(), torch.device("cpu")))


@pytest.mark.slow
def test_three_ranks_find_together_exactly_what_one_finds(tmp_path: Path) -> None:
    images = write_set(tmp_path, 41)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = scores_of_one_model(images, True)
    finally:
        torch.set_num_threads(threads)
    assert alone["zero_shot"]["num_images"] == 41
    assert 0 < alone["zero_shot"]["top1"] < 1
    assert set(alone["digits"]) >= {"accuracy", "l2_strength"}
    assert run_ranks(scores_of_one_model, 3, images, True) == [alone] * 3


def test_sets_are_read_once_and_more_ranks_than_batches_do_no_harm(tmp_path: Path) -> None:
    images = write_set(tmp_path, 8)

    class Third:
        """A team whose other members have sent their parts before."""

        rank, num_ranks = 2, 3

        def gather(self, value: Any) -> Any:
            return [parts[0], parts[1], value] if isinstance(value, torch.Tensor) else [value]

    torch.manual_seed(0)
    model = Clip(MODEL)
    zero_shot = ZeroShotConfig(batch_images=4)  # two batches: the third rank has nothing to encode
    periodic = Periodic(CONFIG, EvaluateConfig(zero_shot_set=images, zero_shot=zero_shot, digits=False))
    Path(images).unlink()
    parts = [torch.tensor([0, 1, 0, 3]), torch.tensor([2, 0, 0, 0])]
    found = periodic.run(model, Third())["zero_shot"]
    assert found["top1"] == 5 / 8
    assert found["num_images"] == 8.0


def test_a_training_that_wants_evaluations_must_say_which(tmp_path: Path) -> None:
    for evals in (None, EvaluateConfig(digits=False)):
        with pytest.raises(ConfigError, match=r"asks for nothing; write --evaluate\.digits true"):
            Periodic(CONFIG, evals)
    with pytest.raises(InputError, match=r"missing\.parquet"):
        Periodic(CONFIG, EvaluateConfig(zero_shot_set=str(tmp_path / "missing.parquet")))
