from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from helpers.places import ROOT
from helpers.training import CONFIG
from models.clip import Clip
from openwit.config import override
from pipelines.cost.pretrain import WIT_PAIRS, forecast, lines, table_row
from pipelines.paper_recipes import ROWS, pretraining
from train.config import PretrainConfig
from train.metrics.flops import training_flops


def cost_of(name: str, **fields: object) -> Any:
    config = override(pretraining(name, "w"), {path: str(value) for path, value in fields.items()})
    return config, forecast(config, WIT_PAIRS // config.batch_pairs)


def test_parameters_are_the_networks_and_time_is_arithmetic_over_speed() -> None:
    config, cost = cost_of("vit_b32")
    assert cost.num_parameters == 151_277_313
    assert cost.num_samples == cost.num_steps * 32_768 == pytest.approx(12.8e9, rel=1e-4)
    assert cost.flops == training_flops(config, 24) * cost.num_samples
    assert cost.gpu_s == pytest.approx(cost.flops / (0.4 * 989e12))


def test_what_is_computed_twice_takes_its_time() -> None:
    tiny = dataclasses.replace(CONFIG, device="cuda", precision="bf16")
    both = forecast(dataclasses.replace(tiny, checkpoint_blocks=True, accumulation=2), 10)
    assert both.gpu_s == pytest.approx(5 / 3 * forecast(tiny, 10).gpu_s)  # type: ignore[operator]
    assert any("at an MFU of 24% (assumed: 40%, with 1.67 times the arithmetic)" in line for line in lines(tiny, both))


@pytest.mark.slow
def test_memory_grows_with_pairs_and_shrinks_with_checkpoints_and_halved_statistics() -> None:
    tiny = dataclasses.replace(CONFIG, precision="bf16")
    plain = forecast(tiny, 10)
    assert plain.memory_bytes(64) - plain.memory_bytes(32) == pytest.approx(32 * plain.pair_bytes)
    deep = override(tiny, {"model.vision.layers": "6"})
    assert forecast(override(deep, {"checkpoint_blocks": "true"}), 10).pair_bytes < forecast(deep, 10).pair_bytes
    halved = forecast(dataclasses.replace(tiny, optimizer_state_dtype="bf16"), 10)
    assert plain.fixed_bytes - halved.fixed_bytes == 4 * plain.num_parameters
    uncopied = forecast(dataclasses.replace(tiny, precision="fp32"), 10)
    assert plain.fixed_bytes - uncopied.fixed_bytes == 2 * plain.num_parameters
    assert forecast(override(deep, {"patch_dropout": "0.75"}), 10).pair_bytes < forecast(deep, 10).pair_bytes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: its memory cannot be compared")
def test_the_forecast_memory_of_a_pair_is_what_a_gpu_takes_within_a_third() -> None:
    config = PretrainConfig(precision="bf16")
    model, peaks = Clip(config.model).cuda(), []
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # else the second pass has them and the first one not
    for pairs in (64, 128):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16):
            total = model.visual(torch.zeros(pairs, 3, 224, 224, device="cuda")).sum()
            rows = torch.zeros(pairs * 24, 512, device="cuda", requires_grad=True)
            total = total + model.transformer(rows, [(pairs, 24)], causal=True).sum()
        total.backward()
        peaks.append(torch.cuda.max_memory_allocated())
    assert (peaks[1] - peaks[0]) / 64 == pytest.approx(forecast(config, 1000).pair_bytes, rel=0.33)


def test_what_does_not_fit_is_said_with_what_to_write() -> None:
    config, cost = cost_of("vit_b32", ranks=1)
    *_, memory, way_out = lines(config, cost)
    assert "for each of 32,768 pairs at once" in memory
    assert "which is more than 80 GB; write --pretrain.accumulation 16" in way_out
    roomy = override(config, {"accumulation": "16"})
    assert "more than" not in [*lines(roomy, cost)][-1]
    hopeless = dataclasses.replace(cost, fixed_bytes=1e12)
    assert [*lines(config, hopeless)][-1].endswith("; write --pretrain.checkpoint_blocks true, or take more GPUs")
    assert [*lines(override(config, {"checkpoint_blocks": "true"}), hopeless)][-1].endswith("80 GB; take more GPUs")


def test_a_precision_without_a_known_peak_has_no_time_and_a_processor_no_memory() -> None:
    unknown = dataclasses.replace(CONFIG, device="cuda", precision="fp32")
    cost = forecast(unknown, 10)
    assert cost.gpu_s is None
    assert any("write --pretrain.peak_tflops" in line for line in lines(unknown, cost))
    known = dataclasses.replace(unknown, peak_tflops=60.0)
    assert any("GPU-hours on GPUs of 60 TFLOP/s" in line for line in lines(known, forecast(known, 10)))
    assert len([*lines(CONFIG, forecast(CONFIG, 10))]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_the_table_in_the_docs_is_what_is_computed_now(name: str) -> None:
    text = (ROOT / "docs" / "pretraining.md").read_text(encoding="utf-8")
    assert table_row(name, pretraining(name, name)) in text.splitlines()
