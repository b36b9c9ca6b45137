from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.small_towers import EIGHT, VOCABULARY, images, rows, small_tower
from models.objectives.captioning import CaptionPredictor, DecoderBlock
from models.objectives.towers import CaptionConfig

CONFIG = CaptionConfig(context_length=10, vocabulary_size=VOCABULARY, width=8, layers=2, heads=2)


def predictor(kind: str = "vit") -> CaptionPredictor:
    torch.manual_seed(0)
    model = CaptionPredictor(small_tower(kind), CONFIG).double().eval()
    for parameter in model.parameters():  # away from the small numbers of the beginning, where all looks alike
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def plain_attention(query: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """One query [W] over some keys and values [K, W]."""
    width = len(query) // heads
    parts = []
    for head in range(heads):
        at = slice(head * width, (head + 1) * width)
        weights = torch.softmax(keys[:, at] @ query[at] / math.sqrt(width), dim=0)
        parts.append(weights @ values[:, at])
    return torch.cat(parts)


def plain_block(block: DecoderBlock, x_LW: Tensor, map_PW: Tensor) -> Tensor:
    """The block's definition, a token at a time: each sees the tokens up to itself, and the whole image."""
    q_LW, k_LW, v_LW = F.linear(block.ln_1(x_LW), block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=-1)
    mixed = [plain_attention(q_LW[i], k_LW[: i + 1], v_LW[: i + 1], CONFIG.heads) for i in range(len(x_LW))]
    x_LW = x_LW + block.attn.out_proj(torch.stack(mixed))
    k_PW, v_PW = block.cross.kv_proj(map_PW).chunk(2, dim=-1)
    queries = block.cross.q_proj(block.ln_2(x_LW))
    seen = torch.stack([plain_attention(query, k_PW, v_PW, CONFIG.heads) for query in queries])
    x_LW = x_LW + block.cross.out_proj(seen)
    return x_LW + block.mlp.c_proj(block.mlp.gelu(block.mlp.c_fc(block.ln_3(x_LW))))  # type: ignore[no-any-return]


def plain_log_likelihoods(model: CaptionPredictor, image: Tensor, text: list[int]) -> list[float]:
    """Of each token of one text for one image, by the definition, without batch and padding."""
    map_PW = model.from_image(model.ln_image(model.visual.feature_map(image[None])))[0]
    tokens = [VOCABULARY - 2, *text, VOCABULARY - 1]
    x_LW = model.token_embedding(torch.tensor(tokens[:-1])) + model.positional_embedding[: len(tokens) - 1]
    for block in model.blocks:
        x_LW = plain_block(block, x_LW, map_PW)  # type: ignore[arg-type]
    logits_LV = model.ln_final(x_LW) @ model.token_embedding.weight.T + model.bias
    return [(row[token] - row.logsumexp(0)).item() for row, token in zip(logits_LV, tokens[1:], strict=True)]


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_loss_is_the_definitions_mean_over_all_tokens_and_ends(kind: str) -> None:
    model, image, texts = predictor(kind), images(3).double(), [[3, 0, 4, 4], [], [7]]
    each = [plain_log_likelihoods(model, image, text) for image, text in zip(image, texts, strict=True)]
    expected = -sum(map(sum, each)) / sum(map(len, each))
    assert model.loss(image, rows(*texts)).item() == pytest.approx(expected, rel=1e-12)


def test_a_decoder_that_knows_nothing_pays_the_log_of_the_vocabulary_for_each_token() -> None:
    model = predictor()
    for parameter in (model.token_embedding.weight, model.bias):
        torch.nn.init.zeros_(parameter)
    assert model.loss(images(2).double(), rows([1, 2], [3])).item() == pytest.approx(math.log(VOCABULARY), rel=1e-12)
    model.bias.data[VOCABULARY - 1] = 1.0  # the end token is now e times as likely as any other: 2 of 5 tokens
    total = math.log(VOCABULARY - 1 + math.e)
    assert model.loss(images(2).double(), rows([1, 2], [3])).item() == pytest.approx(total - 2 / 5, rel=1e-12)


def test_no_token_is_seen_before_it_is_predicted() -> None:
    model, tokens = predictor(), rows([1, 2, 3, 4, 5])
    map_BPW = model.image_map(images(1).double())
    before = model.decode(map_BPW, tokens)
    for changed in range(1, 6):
        other = tokens.clone()
        other[0, changed] = 9
        after = model.decode(map_BPW, other)
        assert torch.equal(after[0, :changed], before[0, :changed])
        assert not torch.allclose(after[0, changed:], before[0, changed:])


def test_every_token_sees_the_image() -> None:
    model, tokens = predictor(), rows([1, 2, 3])
    one, other = model.image_map(images(2).double())[:, None]
    differs = (model.decode(one, tokens) - model.decode(other, tokens)).abs().amax(dim=-1)
    assert (differs > 1e-6).all()


def test_padding_does_not_change_the_loss_or_a_gradient() -> None:
    image = images(2).double()
    found = []
    for length in (5, 10):
        model = predictor()
        loss = model.loss(image, rows([1, 2, 3], [0], length=length))
        loss.backward()
        found.append([loss, *(p.grad for p in model.parameters() if p.requires_grad)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_every_parameter_that_is_not_frozen_gets_a_gradient(kind: str) -> None:
    model = predictor(kind).train()
    model.loss(images(4).double(), EIGHT[:4]).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.isfinite().all())) == parameter.requires_grad, name
    frozen = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == ({"proj", "ln_post"} if kind == "vit" else {"attnpool"})


def test_eight_pairs_are_learned_by_heart_and_told_apart_by_their_names() -> None:
    torch.manual_seed(0)
    config = CaptionConfig(context_length=10, vocabulary_size=VOCABULARY, width=32, layers=2, heads=2)
    model, image = CaptionPredictor(small_tower("vit"), config), images(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss = model.loss(image, EIGHT)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
    assert model.class_scores(image, EIGHT).argmax(dim=1).tolist() == list(range(8))


def test_a_class_is_scored_by_the_log_likelihood_of_its_name() -> None:
    model, image, names = predictor(), images(3).double(), [[3, 0], [7], [5, 5, 5, 5]]
    expected = [[sum(plain_log_likelihoods(model, image, name)) for name in names] for image in image]
    scores = model.class_scores(image, rows(*names, length=9))
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64))
    with pytest.raises(ValueError, match="class name 1 has no tokens"):
        model.class_scores(image, rows([1], []))


def test_the_default_decoder_is_as_large_as_the_papers() -> None:
    with torch.device("meta"):
        blocks = [DecoderBlock(CaptionConfig()) for _ in range(CaptionConfig().layers)]
    beside_cross = sum(p.numel() for block in blocks for n, p in block.named_parameters() if "cross" not in n)
    embeddings = (49408 + 77) * 512
    assert round((beside_cross + embeddings) / 1e6) == 63
