# mypy: disable-error-code="arg-type, assignment, union-attr"
from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.networks import VOCABULARY, texts
from models.config import TextConfig
from models.text import TextTower

LENGTHS = st.lists(st.integers(2, 77), min_size=1, max_size=9)


def tower(**changes: object) -> TextTower:
    torch.manual_seed(0)
    config = TextConfig(**{"vocabulary_size": VOCABULARY, "width": 32, "layers": 3, "heads": 4, **changes})
    return TextTower(config, 16)


def run(text_tower: TextTower, layout: str, tokens: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Embeddings, and every parameter's gradient of a sum in which each number has another weight."""
    text_tower.layout = layout
    text_tower.zero_grad()
    out = text_tower.embed_text(tokens)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return out.detach(), {name: parameter.grad.clone() for name, parameter in text_tower.named_parameters()}


@pytest.mark.parametrize("layout", ["packed", "truncated"])
@settings(max_examples=15, deadline=None)
@given(LENGTHS)
def test_packed_and_truncated_texts_equal_padded_ones_and_so_do_their_gradients(
    layout: str, lengths: list[int]
) -> None:
    text_tower, tokens = tower(), texts(lengths)
    padded, padded_gradients = run(text_tower, "padded", tokens)
    out, gradients = run(text_tower, layout, tokens)
    torch.testing.assert_close(out, padded, atol=1e-5, rtol=0)
    largest = max(gradient.norm() for gradient in padded_gradients.values())
    for name, expected in padded_gradients.items():
        assert (gradients[name] - expected).norm() <= 1e-4 * expected.norm() + 1e-6 * largest, name


@pytest.mark.parametrize(("layout", "rows"), [("packed", 3 + 20 + 3 + 9), ("truncated", 80), ("padded", 4 * 77)])
def test_the_transformer_gets_as_many_rows_as_the_layout_says(layout: str, rows: int) -> None:
    text_tower, seen = tower(), []
    text_tower.transformer.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    run(text_tower, layout, texts([3, 20, 3, 9]))
    assert seen == [rows]


@pytest.mark.parametrize("kind", ["transformer", "cbow"])
def test_a_text_does_not_depend_on_its_neighbours_or_their_order(kind: str) -> None:
    text_tower, tokens = tower(kind=kind), texts([12, 3, 77, 12, 40])
    out = text_tower.embed_text(tokens)
    order = torch.tensor([2, 0, 4, 1, 3])
    torch.testing.assert_close(text_tower.embed_text(tokens[order]), out[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(text_tower.embed_text(tokens[1:2]), out[1:2], atol=1e-5, rtol=0)


def test_cbow_knows_the_words_and_not_their_order_and_nothing_behind_the_end() -> None:
    text_tower, tokens = tower(kind="cbow"), texts([9])
    out = text_tower.embed_text(tokens)
    turned = torch.cat([tokens[:, :1], tokens[:, 1:8].flip(1), tokens[:, 8:]], dim=1)
    spoiled = torch.cat([tokens[:, :9], torch.full((1, 68), 5)], dim=1)
    other = torch.cat([tokens[:, :1], tokens[:, 1:2] % (VOCABULARY - 3) + 1, tokens[:, 2:]], dim=1)
    torch.testing.assert_close(text_tower.embed_text(turned), out)
    torch.testing.assert_close(text_tower.embed_text(spoiled), out)
    assert not torch.allclose(text_tower.embed_text(other), out)


def test_cbow_is_the_normed_mean_of_its_tokens_projected() -> None:
    text_tower, tokens = tower(kind="cbow"), texts([5, 11])
    means = torch.stack(
        [text_tower.token_embedding(row[:length]).mean(0) for row, length in zip(tokens, (5, 11), strict=True)]
    )
    expected = text_tower.ln_final(means) @ text_tower.text_projection
    torch.testing.assert_close(text_tower.embed_text(tokens), expected)


def test_cbow_has_no_transformer_and_no_positions() -> None:
    names = {"token_embedding.weight", "ln_final.weight", "ln_final.bias", "text_projection"}
    assert set(tower(kind="cbow").state_dict()) == names


def test_all_tokens_of_the_longest_text_count() -> None:
    text_tower, tokens = tower(), texts([77])
    changed = tokens.clone()
    changed[0, 75] = tokens[0, 75] % (VOCABULARY - 3) + 1
    assert not torch.allclose(text_tower.embed_text(changed), text_tower.embed_text(tokens), atol=1e-4)


@pytest.mark.parametrize("kind", ["transformer", "cbow"])
@pytest.mark.parametrize("layout", ["packed", "truncated", "padded"])
def test_ids_may_stay_where_the_weights_are_not(kind: str, layout: str) -> None:
    with torch.device("meta"):
        text_tower = tower(kind=kind)
    text_tower.layout = layout
    out = text_tower.embed_text(texts([12, 3, 77]))
    assert (out.device.type, out.shape) == ("meta", (3, 16))


@pytest.mark.parametrize(
    "precision", [torch.float32, pytest.param(torch.bfloat16, id="bf16"), pytest.param(torch.float16, id="fp16")]
)
def test_on_a_gpu_packed_texts_equal_padded_ones_wherever_the_ids_are(precision: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, and there is none")
    text_tower, tokens = tower().cuda(), texts([5, 77, 12, 5, 40, 3])
    truth, gradients = run(text_tower, "padded", tokens)
    largest = max(gradient.norm() for gradient in gradients.values())
    errors = {}
    for layout, ids in (("padded", tokens.cuda()), ("packed", tokens.cuda()), ("packed ", tokens)):
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            out, grads = run(text_tower, layout.strip(), ids)
        errors[layout] = (out - truth).abs().max()
        for name, expected in gradients.items():
            assert (grads[name] - expected).norm() <= 0.05 * expected.norm() + 1e-3 * largest, (layout, name)
    for layout in ("packed", "packed "):
        assert errors[layout] <= 2 * errors["padded"] + 1e-5
