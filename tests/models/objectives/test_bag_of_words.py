from __future__ import annotations

import math

import pytest
import torch

from helpers.small_towers import EIGHT, VOCABULARY, images, rows, small_tower
from models.objectives.bag_of_words import BagOfWordsPredictor
from models.objectives.towers import BagOfWordsConfig

CONFIG = BagOfWordsConfig(vocabulary_size=VOCABULARY, expected_tokens=2.0)


def predictor(kind: str = "vit") -> BagOfWordsPredictor:
    return BagOfWordsPredictor(small_tower(kind), CONFIG).double().eval()


def test_the_loss_is_the_cross_entropy_of_every_token_of_the_vocabulary() -> None:
    model, image = predictor(), images(2).double()
    captions = [[3, 3, 0], [7]]
    logits = model(image).tolist()
    expected = 0.0
    for row, caption in zip(logits, captions, strict=True):
        for token, logit in enumerate(row):
            chance = 1 / (1 + math.exp(-logit))
            expected -= math.log(chance if token in caption else 1 - chance)
    assert model.loss(image, rows(*captions)).item() == pytest.approx(expected / 2, rel=1e-12)


def test_length_of_padding_and_order_and_number_of_tokens_do_not_count() -> None:
    model, image = predictor(), images(2).double()
    loss = model.loss(image, rows([1, 2, 0], [5], length=6))
    assert torch.equal(loss, model.loss(image, rows([1, 2, 0], [5], length=30)))
    assert torch.equal(loss, model.loss(image, rows([0, 2, 1, 2, 2], [5, 5])))
    assert not torch.equal(loss, model.loss(image, rows([1, 2], [5])))  # id 0 is a token, and padding


def test_it_begins_with_as_many_tokens_as_a_caption_has() -> None:
    torch.manual_seed(0)
    model = BagOfWordsPredictor(small_tower("vit"), BagOfWordsConfig(expected_tokens=12.0)).eval()
    assert model(images(4)).sigmoid().sum(dim=1).mean().item() == pytest.approx(12.0, rel=0.1)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_every_parameter_that_is_not_frozen_gets_a_gradient(kind: str) -> None:
    model = predictor(kind).train()
    model.loss(images(4).double(), EIGHT[:4]).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.isfinite().all())) == parameter.requires_grad, name
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == (
        {"visual.proj"} if kind == "vit" else {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias"}
    )


def test_eight_pairs_are_learned_by_heart_and_told_apart_by_their_names() -> None:
    torch.manual_seed(0)
    model, image = BagOfWordsPredictor(small_tower("vit"), CONFIG), images(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = model.loss(image, EIGHT)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    names = EIGHT[:7]  # the eighth has the first one's tokens in another order
    assert model.class_scores(image, names)[:7].argmax(dim=1).tolist() == list(range(7))


def test_a_class_is_scored_by_the_log_probability_that_all_its_tokens_are_there() -> None:
    model, image = predictor(), images(3).double()
    scores = model.class_scores(image, rows([3, 3, 0], [7], length=6))
    log_chance = torch.nn.functional.logsigmoid(model(image))
    torch.testing.assert_close(scores, torch.stack([log_chance[:, 3] + log_chance[:, 0], log_chance[:, 7]], dim=1))
    with pytest.raises(ValueError, match="class name 0 has no tokens"):
        model.class_scores(image, rows([]))
