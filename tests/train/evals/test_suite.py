from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from models.clip import Clip
from models.config import ClipConfig, TextConfig, VisionTransformerConfig
from models.tokenizer import Tokenizer
from train.evals.config import EvaluateConfig
from train.evals.suite import Suite


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
    assert scores["zero_shot"]["top1"] == 0.5  # both pictures get the same answer, and one of them is right
    assert scores["digits"]["accuracy"] > 0.3  # chance is 0.1; the features of random weights still tell some apart
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert Suite(EvaluateConfig(digits=False)).run(model, Tokenizer(12), model.preprocess) == {}
