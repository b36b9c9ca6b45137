"""Both towers as ONNX graphs: image.onnx, text.onnx, and config.json with the preprocessing and the logit scale."""

from __future__ import annotations

import importlib.util
import json
import warnings
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from models.clip import Clip
from models.interchange.tensors import new_folder
from openwit.errors import InputError, WorkError

NEEDED = ("onnx", "onnxscript", "onnxruntime")
MAX_BYTES = 1_900_000_000  # in one file: the format's limit is 2 GiB; above, the weights stand beside it
MAX_DIFFERENCE = 1e-4  # of a unit vector's numbers, between the graph and the network


class _Image(nn.Module):
    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.encode_image(image)


class _TextGraph(nn.Module):
    def __init__(self, model: Clip) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens)


def write_folder(model: Clip, folder: Path) -> None:
    """Publishes the graphs: image float32 [batch, 3, S, S] and tokens int64 [batch, context_length] to unit vectors
    [batch, embed_dim], any batch. Raises InputError without ONNX's libraries, WorkError where a graph differs."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(f"--to onnx: {', '.join(missing)} is not installed; pip install -e '.[onnx]'")
    config, text = model.config, model.config.text
    image = torch.randn(2, 3, config.vision.image_px, config.vision.image_px, device=model.device)
    tokens = torch.randint(1, text.vocabulary_size - 1, (2, text.context_length), device=model.device)
    tokens[0, -1] = tokens[1, 1] = text.vocabulary_size - 1
    described = {"model": msgspec.to_builtins(config), "logit_scale": model.logit_scale.exp().item()}
    layout, was_training = model.layout, model.training
    model.layout = "padded"  # the others' shapes depend on the texts
    model.eval()
    try:
        with new_folder(folder) as made:
            _export(_Image(model), "image", image, made / "image.onnx")
            _export(_TextGraph(model), "tokens", tokens, made / "text.onnx")
            (made / "config.json").write_text(json.dumps(described, indent=2) + "\n")
    finally:
        model.layout = layout
        model.train(was_training)


@torch.no_grad()
def _export(tower: nn.Module, name: str, example: Tensor, path: Path) -> None:
    """Writes the graph, runs it, and compares."""
    num_bytes = sum(parameter.nbytes for parameter in tower.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own inside
        torch.onnx.export(
            tower, (example,), path, input_names=[name], output_names=["features"], dynamo=True, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=num_bytes > MAX_BYTES,
        )  # fmt: skip
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    batch = torch.cat([example, example[:1]])  # of another size than the one that was traced
    found = torch.from_numpy(session.run(None, {name: batch.cpu().numpy()})[0])
    difference = (found - tower(batch).cpu()).abs().max().item()
    if not difference <= MAX_DIFFERENCE:
        raise WorkError(f"{path.name}: the graph's results differ from the network's by {difference:.1e}")
