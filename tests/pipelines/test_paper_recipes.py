from __future__ import annotations

import pytest

from models.config import CONFIGS
from pipelines import recipes
from pipelines.paper_recipes import CRAWL_PX, ROWS, pretraining

PAPER = {  # section 2.5 and appendix F: the highest learning rate, AdamW's beta2 and eps
    "rn50": ("RN50", 5e-4, 0.999, 1e-8),
    "rn101": ("RN101", 5e-4, 0.999, 1e-8),
    "rn50x4": ("RN50x4", 5e-4, 0.999, 1e-8),
    "rn50x16": ("RN50x16", 4e-4, 0.999, 1e-8),
    "rn50x64": ("RN50x64", 3.6e-4, 0.999, 1e-8),
    "vit_b32": ("ViT-B/32", 5e-4, 0.98, 1e-6),
    "vit_b16": ("ViT-B/16", 5e-4, 0.98, 1e-6),
    "vit_l14": ("ViT-L/14", 4e-4, 0.98, 1e-6),
    "vit_l14_336": ("ViT-L/14@336px", 2e-5, 0.98, 1e-6),
}


def test_the_nine_models_of_the_paper_have_its_hyperparameters() -> None:
    assert list(ROWS) == list(PAPER)
    for name, (model, learning_rate, beta2, eps) in PAPER.items():
        config = pretraining(name, f"runs/{name}")
        assert config.model == CONFIGS[model]
        assert (config.learning_rate, config.beta1, config.beta2, config.eps) == (learning_rate, 0.9, beta2, eps), name
        assert (config.batch_pairs, config.warmup_steps, config.weight_decay) == (32_768, 2_000, 0.2)
        assert (config.max_logit_scale, config.precision, config.loss, config.compile) == (100, "bf16", "fused", True)
        assert config.duration == ("1 epochs" if name == "vit_l14_336" else "32 epochs")
    assert {row.model for row in ROWS.values()} == set(CONFIGS)


@pytest.mark.parametrize("name", ROWS)
def test_a_full_recipe_is_wit400m_with_another_training_and_images_large_enough(name: str) -> None:
    recipe = recipes.create(name, f"runs/{name}")
    data_line = recipes.create("wit400m", f"runs/{name}")
    assert recipe.name == name
    assert (recipe.queries, recipe.cap, recipe.crawl) == (data_line.queries, data_line.cap, data_line.crawl)
    stream, image_px = recipe.pretrain.stream, recipe.pretrain.model.vision.image_px
    assert stream.resize_px == image_px <= recipe.crawl.image_px == CRAWL_PX
    for gpus in (8, 32, 256, 512):
        assert stream.num_lanes % gpus == 0
        assert 32_768 // gpus % recipe.pretrain.accumulation == 0


def test_wit400m_trains_vit_b32() -> None:
    assert recipes.create("wit400m", "w").pretrain == recipes.create("vit_b32", "w").pretrain


@pytest.mark.parametrize(
    ("work", "initial"),
    [
        ("runs/vit_l14_336", "runs/vit_l14/pretrain/checkpoints"),
        ("/shared/last/", "/shared/vit_l14/pretrain/checkpoints"),
        ("here", "./vit_l14/pretrain/checkpoints"),
        ("s3://bucket/runs/vit_l14_336", "s3://bucket/runs/vit_l14/pretrain/checkpoints"),
    ],
)
def test_the_epoch_at_336_px_begins_with_the_work_folder_vit_l14_beside_its_own(work: str, initial: str) -> None:
    assert recipes.create("vit_l14_336", work).pretrain.initial == initial
    assert recipes.create("vit_l14", work).pretrain.initial == ""
