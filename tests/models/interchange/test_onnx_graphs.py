from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.clips import RESNET, VIT, inputs, random_clip
from models.config import ClipConfig
from models.interchange.convert import save
from openwit.errors import InputError

FLAT = dataclasses.replace(VIT, vision=dataclasses.replace(VIT.vision, layers=1))  # type: ignore[arg-type]
CBOW = dataclasses.replace(RESNET, text=dataclasses.replace(RESNET.text, kind="cbow"))


@pytest.mark.slow
@pytest.mark.parametrize("config", [FLAT, CBOW], ids=["transformers", "resnet-and-cbow"])
def test_onnxruntime_gives_the_networks_features_for_any_batch(tmp_path: Path, config: ClipConfig) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = random_clip(config)
    image, tokens = inputs(config)
    with torch.no_grad():
        expected = {"image": model.encode_image(image), "text": model.encode_text(tokens)}
    save(model, tmp_path / "saved", "onnx")
    for name, batch in (("image", image), ("text", tokens)):
        session = onnxruntime.InferenceSession(tmp_path / "saved" / f"{name}.onnx", providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        for rows in (slice(0, 1), slice(0, 3)):
            (found,) = session.run(["features"], {taken.name: batch[rows].numpy()})
            np.testing.assert_allclose(found, expected[name][rows].numpy(), atol=1e-5)
    described = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert described["logit_scale"] == pytest.approx(model.logit_scale.exp().item())
    assert described["model"]["activation"] == config.activation
    with torch.no_grad():
        assert torch.equal(model.encode_text(tokens), expected["text"]), "the model is as it was"


def test_without_the_libraries_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.delitem(sys.modules, "onnxscript", raising=False)
    with pytest.raises(InputError, match=r"--to onnx: .*onnxscript.* not installed; pip install"):
        save(random_clip(VIT), tmp_path / "saved", "onnx")
    assert list(tmp_path.iterdir()) == []
