from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys

import pytest
import torch

from helpers.compiler import graphs_alone
from helpers.networks import VOCABULARY, shaken, texts
from models.clip import Clip
from models.compiling import require_compiler
from models.config import ClipConfig, ResNetConfig, TextConfig, VisionTransformerConfig
from openwit.errors import ConfigError

TEXT = TextConfig(vocabulary_size=VOCABULARY, width=16, layers=2, heads=2)
VIT = ClipConfig(
    embed_dim=16, vision=VisionTransformerConfig(image_px=16, patch_px=8, width=32, layers=2, heads=2), text=TEXT
)
RESNET = ClipConfig(
    embed_dim=16,
    vision=ResNetConfig(image_px=32, layers=(1, 1, 1, 1), width=8, heads=4),
    text=TextConfig(kind="cbow", vocabulary_size=VOCABULARY, width=16),
)


@pytest.fixture(scope="module")
def compiler() -> None:
    try:
        require_compiler()
    except ConfigError as error:
        pytest.skip(str(error))


def learn(model: Clip) -> tuple[list[float], list[int]]:
    """The losses of some steps on images and on texts whose lengths differ each time; and how many graphs were
    compiled by the end of each."""
    counted = torch._dynamo.utils.counters
    counted.clear()
    torch._dynamo.reset()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    random, losses, graphs = torch.Generator().manual_seed(1), [], []
    px = model.config.vision.image_px
    for step in range(4):
        image = torch.randn(4, 3, px, px, generator=random)
        image_BD, text_BD, scale = model(image, texts([3 + step, 9, 5 + 2 * step, 9]))
        loss = (scale * image_BD @ text_BD.T).log_softmax(1).diagonal().mean().neg()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        graphs.append(counted["stats"]["unique_graphs"])
    return losses, graphs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "layout", "checkpointing", "num_graphs"),
    [(VIT, "packed", False, 3), (VIT, "padded", True, 2), (RESNET, "packed", True, 5)],
    ids=["packed", "padded, checkpointed", "resnet, checkpointed"],
)
def test_a_compiled_network_learns_the_same_and_compiles_in_its_first_step_only(
    config: ClipConfig, layout: str, checkpointing: bool, num_graphs: int, compiler: None
) -> None:
    torch.manual_seed(0)
    plain = shaken(Clip(config))
    plain.layout = layout  # type: ignore[assignment]
    plain.set_checkpointing(checkpointing)  # type: ignore[operator]
    fast = copy.deepcopy(plain)
    fast.set_compiling(True)  # type: ignore[operator]
    expected, none = learn(plain)  # type: ignore[arg-type]
    with graphs_alone() if checkpointing else contextlib.nullcontext():
        losses, graphs = learn(fast)  # type: ignore[arg-type]
    # A batch norm over four values magnifies roundings, the plain network's too.
    assert losses == pytest.approx(expected, abs=1e-4 if config is RESNET else 1e-5)
    assert losses[-1] != losses[0]
    assert (none, graphs) == ([0] * 4, [num_graphs] * 4)

    assert list(fast.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(fast.state_dict())
    px = config.vision.image_px
    image, tokens = torch.randn(3, 3, px, px), texts([4, 5, 6])
    again = pickle.loads(pickle.dumps(fast)).eval()
    for one, other in zip(again(image, tokens), plain.eval()(image, tokens), strict=True):
        assert torch.equal(one, other)  # evaluation is not compiled
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == num_graphs


def test_without_a_compiler_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"compile=true: needs a C\+\+ compiler"):
        require_compiler()


def test_a_network_is_imported_without_a_compiler() -> None:
    code = "import sys, models.clip; print(any(name.startswith('torch._inductor') for name in sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"
