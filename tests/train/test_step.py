# mypy: disable-error-code="arg-type, assignment, index, no-untyped-call, return-value, union-attr, var-annotated"
from __future__ import annotations

import copy
import dataclasses
import math
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.matrices import ALL
from helpers.networks import open_clip_network, shaken
from helpers.ranks import run_ranks
from helpers.shards import write_shards
from helpers.training import CONFIG, MODEL, alone, batch_loader, curve, job, train_here
from models.clip import Clip
from models.config import ResNetConfig
from models.detector.config import DetectorConfig, DetectorResNetConfig
from train.checkpoints.layout import folder_of
from train.config import AnyTrainingConfig, DetectorTrainingConfig, PretrainConfig, StreamConfig
from train.data.batches import Batch, Cursor
from train.data.dataset import open_data_set
from train.loop import objective_of
from train.loss import contrastive_loss
from train.objectives.clip import ClipObjective, kept_patches
from train.optim.optimizer import build_optimizer, scheduled_learning_rate, set_learning_rate, steps_taken
from train.ranks import Ranks
from train.step import Learner, Measured

PAIRS = 48  # of a global batch: 1 to 4 ranks' parts can be cut into 1, 2 and 4
VOCABULARY = 300
WHOLE = dataclasses.replace(
    CONFIG, model=dataclasses.replace(MODEL, text=dataclasses.replace(MODEL.text, vocabulary_size=VOCABULARY)),
    batch_pairs=PAIRS, ranks=1, stream=dataclasses.replace(CONFIG.stream, num_lanes=12), loss="reference",
)  # fmt: skip
RESNET = dataclasses.replace(
    WHOLE,
    model=dataclasses.replace(
        WHOLE.model, vision=ResNetConfig(image_px=32, layers=(1, 1, 1, 1), width=8, heads=4), embed_dim=16
    ),
    stream=dataclasses.replace(WHOLE.stream, resize_px=36),
)
DROPPED = dataclasses.replace(WHOLE, patch_dropout=0.5)
DETECTOR = DetectorTrainingConfig(
    model=DetectorConfig(image_px=32, embed_dim=8, resnet=DetectorResNetConfig(blocks=(1, 1), width=4)),
    stream=StreamConfig(resize_px=40, num_lanes=12), batch_pairs=PAIRS, ranks=1, device="cpu", loss="reference",
    duration="100 steps", warmup_steps=2,
)  # fmt: skip


def inputs_of(config: AnyTrainingConfig, num_pairs: int = PAIRS) -> tuple[Tensor, ...]:
    """Noise as images, and texts of 1 to 9 words or more noise."""
    random = torch.Generator().manual_seed(9)
    px = config.model.vision.image_px if isinstance(config, PretrainConfig) else config.model.image_px
    image = torch.randint(0, 256, (num_pairs, 3, px, px), generator=random, dtype=torch.uint8)
    if not isinstance(config, PretrainConfig):
        return image, torch.roll(image, 1, dims=3)
    tokens = torch.zeros(num_pairs, config.model.text.context_length, dtype=torch.int64)
    for row, length in zip(tokens, torch.randint(1, 10, (num_pairs,), generator=random).tolist(), strict=True):
        row[0], row[length + 1] = VOCABULARY - 2, VOCABULARY - 1
        row[1 : length + 1] = torch.randint(1, VOCABULARY - 2, (length,), generator=random)
    if not config.patch_dropout:
        return image, tokens
    return image, tokens, torch.from_numpy(kept_patches(range(num_pairs), 4, 2))


def batch_of(inputs: tuple[Tensor, ...], rank: int = 0, num_ranks: int = 1) -> Batch:
    own = tuple(whole.chunk(num_ranks)[rank] for whole in inputs)
    return Batch(inputs=own, keys=tuple(str(n) for n in range(len(own[0]))), epoch=0, cursor=Cursor(), notices=())


def learner_of(config: AnyTrainingConfig, rank: int = 0, num_ranks: int = 1) -> Learner:
    torch.manual_seed(1)
    objective = objective_of(config)
    model = objective.build()
    return Learner(objective, model, build_optimizer(model, config), Ranks(rank, num_ranks, torch.device("cpu")))


def step_at(learner: Learner, batch: Batch, learning_rate: float) -> Measured:
    set_learning_rate(learner.optimizer, learning_rate)
    return learner.train_step(batch)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def loss_and_gradients(config: AnyTrainingConfig, rank: int = 0, num_ranks: int = 1) -> dict[str, Tensor]:
    """What one step finds that moves nothing."""
    learner = learner_of(config, rank, num_ranks)
    if learner.scaler:  # the first factor is for larger networks
        learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": 2.0**10})
    measured = step_at(learner, batch_of(inputs_of(config), rank, num_ranks), 0.0)
    return {"loss": measured.loss, "norm": measured.gradient_norm} | gradients(learner.model)


CASES = [
    dataclasses.replace(WHOLE, accumulation=parts, loss=loss)
    for parts, loss in product((1, 2, 4), ("chunked", "reference"))
]


def reductions_of_parts(parts: int) -> int:
    learner = learner_of(dataclasses.replace(WHOLE, accumulation=parts), dist.get_rank(), 2)
    assert isinstance(learner.network, DistributedDataParallel)
    reduced: list[int] = []

    def hook(_, bucket):  # type: ignore[no-untyped-def]  # torch refuses annotations that are texts
        reduced.append(bucket.index())
        return default_hooks.allreduce_hook(None, bucket)

    learner.network.register_comm_hook(None, hook)
    step_at(learner, batch_of(inputs_of(WHOLE), dist.get_rank(), 2), 0.1)
    return len(reduced)


def compiled_and_plain() -> tuple[list[tuple[int, ...]], dict[str, Tensor], dict[str, Tensor]]:
    """The shapes of images that the compiler was given, and gradients with it and without."""
    shapes = []

    def backend(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Callable[..., object]:
        shapes.extend(tuple(example.shape) for example in examples if example.ndim == 4)
        return graph.forward

    class Compiled(ClipObjective):
        def build(self) -> Clip:
            model = super().build()
            model.visual.compile(backend=backend)
            return model

    rank, found = dist.get_rank(), []
    for objective in (Compiled(WHOLE), ClipObjective(WHOLE)):
        torch.manual_seed(1)
        model = objective.build()
        learner = Learner(objective, model, build_optimizer(model, WHOLE), Ranks(rank, 2, torch.device("cpu")))
        step_at(learner, batch_of(inputs_of(WHOLE), rank, 2), 0.0)
        found.append(gradients(model))
    return shapes, *found


def in_groups_of_one_to_four(folder: str) -> dict[object, Any]:
    """What this process found for each case as one of so many ranks, and as one of two for other questions."""
    rank, found = int(os.environ["RANK"]), {}
    for num_ranks in range(rank + 1, 5):
        dist.init_process_group("gloo", init_method=f"file://{folder}/{num_ranks}", rank=rank, world_size=num_ranks)
        for number, config in enumerate(CASES):
            found[num_ranks, number] = loss_and_gradients(config, rank, num_ranks)
        if num_ranks == 2:
            found["reductions"] = [reductions_of_parts(parts) for parts in (1, 2, 4)]
            found["compiled"] = compiled_and_plain()
        dist.destroy_process_group()
    return found


@pytest.fixture(scope="module")
def truth() -> dict[str, Tensor]:
    """Of one process that passes the whole batch through the definition of the loss."""
    return loss_and_gradients(WHOLE)


def assert_same(found: dict[str, Tensor], truth: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """Each tensor is nearer to the true one than `tolerance` times the true one's norm."""
    assert found.keys() == truth.keys()
    distances = {name: (found[name] - true).norm().item() for name, true in truth.items()}
    assert {name: d for name, d in distances.items() if not d <= tolerance * truth[name].norm().item()} == {}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[object, Any]]:
    return run_ranks(
        in_groups_of_one_to_four, 4, str(tmp_path_factory.mktemp("groups")), join_group=False, timeout_s=200.0
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{c.loss} in {c.accumulation}" for c in CASES])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
def test_ranks_with_parts_find_the_loss_and_gradients_of_one_process(
    found: list[dict[object, Any]], num_ranks: int, case: int, truth: dict[str, Tensor]
) -> None:
    for rank in range(num_ranks):
        assert_same(found[rank][num_ranks, case], truth)


@pytest.mark.slow
def test_ranks_add_their_gradients_once_a_step_however_many_parts(found: list[dict[object, Any]]) -> None:
    for of_rank in found[:2]:
        assert of_rank["reductions"] == of_rank["reductions"][:1] * 3 != [0] * 3


@pytest.mark.slow
def test_a_compiled_network_learns_on_two_ranks_and_is_compiled_for_its_batches_alone(
    found: list[dict[object, Any]],
) -> None:
    for of_rank in found[:2]:
        shapes, compiled, plain = of_rank["compiled"]
        px = WHOLE.model.vision.image_px
        assert [shape for shape in shapes if shape[1:] == (3, px, px)] == [(PAIRS // 2, 3, px, px)]
        assert_same(compiled, plain)


@pytest.mark.parametrize("config", [RESNET, DROPPED, DETECTOR], ids=["batch norms", "dropped patches", "a fixed scale"])
def test_parts_find_the_gradients_of_their_features_side_by_side(config: AnyTrainingConfig) -> None:
    inputs, learner = inputs_of(config), learner_of(dataclasses.replace(config, accumulation=3))
    plain = copy.deepcopy(shaken(learner.model))
    features = [plain(*learner.objective.prepare(part)) for part in zip(*(i.chunk(3) for i in inputs), strict=True)]
    one_BD, other_BD = (torch.cat(side) for side in list(zip(*features, strict=True))[:2])
    contrastive_loss(one_BD, other_BD, features[0][2], impl="reference").backward()
    step_at(learner, batch_of(inputs), 0.0)
    assert_same(gradients(learner.model), gradients(plain))
    buffers = dict(plain.named_buffers())
    assert all(torch.equal(value, buffers[name]) for name, value in learner.model.named_buffers())
    step_at(learner, batch_of(inputs), 0.0)
    assert any(not torch.equal(v, buffers[n]) for n, v in learner.model.named_buffers()) == (config is RESNET)


class Waits(TorchDispatchMode):
    """Notes the operations whose result depends on values, for which the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masked = func is torch.ops.aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masked or func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "masked_select", "equal"):
            self.found.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_asks_for_no_value(precision: str, parts: int) -> None:
    config = dataclasses.replace(
        WHOLE,
        precision=precision,
        accumulation=parts,
        text_layout="padded",
        loss="chunked",
    )
    learner, batch = learner_of(config), batch_of(inputs_of(config))
    step_at(learner, batch, 1e-3)
    with Waits() as waits:
        measured = step_at(learner, batch, 1e-3)
    assert waits.found == set()
    with waits:
        measured.loss.item()
    assert waits.found == {"aten._local_scalar_dense.default"}


def most_kept_for_gradients(parts: int) -> int:
    """The most bytes that a step held at once for its backward passes."""
    sizes: list[int] = []
    most = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal most
            self.tensor = tensor
            sizes.append(tensor.nbytes)
            most = max(most, sum(sizes))

        def __del__(self) -> None:
            sizes.remove(self.tensor.nbytes)

    learner = learner_of(dataclasses.replace(WHOLE, accumulation=parts))
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        step_at(learner, batch_of(inputs_of(WHOLE)), 0.0)
    return most


def test_parts_need_less_memory() -> None:
    assert most_kept_for_gradients(4) < 0.4 * most_kept_for_gradients(1)


@pytest.mark.parametrize("changes", [{"accumulation": 2}, {"precision": "fp16"}], ids=["in parts", "in fp16"])
def test_a_run_goes_on_bit_for_bit(changes: dict[str, object], tmp_path: Path) -> None:
    write_shards(tmp_path / "data", [16, 20])
    run = job(tmp_path / "data", tmp_path / "out", ranks=1, save_every=3, **changes)
    with alone():
        train_here(run)
        before = curve(tmp_path / "out")
        shutil.rmtree(folder_of(run.checkpoints, 6))
        train_here(run)
    assert curve(tmp_path / "out") == before
    assert len(before) == 6
    for record in before if "precision" in changes else []:
        assert record["gradient_scale"] == 2.0 ** (16 - int(str(record["overflowed_steps"])))


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.1), ("fp16", 0.01)])
def test_half_precision_finds_almost_the_same_gradients(
    precision: str, tolerance: float, parts: int, truth: dict[str, Tensor]
) -> None:
    config = dataclasses.replace(WHOLE, precision=precision, accumulation=parts)
    found = loss_and_gradients(config)
    assert found["loss"].dtype == torch.float32
    assert found["loss"].item() == pytest.approx(truth["loss"].item(), rel=1e-2)
    assert found["norm"].item() == pytest.approx(truth["norm"].item(), rel=5e-2)  # as without the scaler's factor
    wrong = sum((found[name] - true).square().sum() for name, true in truth.items() if name not in ("loss", "norm"))
    assert 1e-6 < wrong.sqrt() / truth["norm"] < tolerance


@pytest.mark.parametrize("statistics", ["fp32", "bf16"])
def test_an_fp16_step_that_overflows_moves_nothing_and_is_counted(statistics: str) -> None:
    learner = learner_of(dataclasses.replace(WHOLE, precision="fp16", optimizer_state_dtype=statistics))
    assert learner.scaler is not None
    batch, before = batch_of(inputs_of(WHOLE)), copy.deepcopy(learner.model.state_dict())
    learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": 2.0**100})
    measured = step_at(learner, batch, 0.01)
    assert math.isfinite(measured.loss.item())
    assert not math.isfinite(measured.gradient_norm.item())
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert learner.measures(1) == {"gradient_scale": 2.0**99, "overflowed_steps": 1}
    learner.scaler.load_state_dict(learner.scaler.state_dict() | {"scale": 2.0**10})
    assert math.isfinite(step_at(learner, batch, 0.01).gradient_norm.item())
    assert any(not torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())
    assert learner.measures(2) == {"gradient_scale": 2.0**10, "overflowed_steps": 1}
    assert steps_taken(learner.optimizer) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_other_precisions_have_no_scaler(precision: str) -> None:
    learner = learner_of(dataclasses.replace(WHOLE, precision=precision))
    assert learner.scaler is None
    assert learner.measures(3) == {}


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [60, pytest.param(200, marks=pytest.mark.skipif(not ALL, reason="needs --all"))])
def test_steps_from_shards_cost_what_they_cost_open_clip(num_steps: int, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    from open_clip.loss import ClipLoss

    config = dataclasses.replace(
        CONFIG, ranks=1, batch_pairs=16, duration=f"{num_steps} steps", warmup_steps=num_steps // 10
    )
    write_shards(tmp_path, [40, 40])
    learner, schedule = (
        learner_of(config),
        [scheduled_learning_rate(step, num_steps, config) for step in range(1, num_steps + 1)],
    )
    theirs, their_loss = open_clip_network(config.model), ClipLoss()
    theirs.load_state_dict(learner.model.state_dict())
    parameters = list(theirs.parameters())
    adamw = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        betas=(config.beta1, config.beta2),
        eps=config.eps,
    )
    ours, peer = [], []
    with batch_loader(open_data_set((str(tmp_path),), ""), config, 0, 1, Cursor()) as batches:
        for learning_rate, batch in zip(schedule, batches, strict=False):
            ours.append(step_at(learner, batch, learning_rate).loss.item())
            image, tokens = learner.objective.prepare(batch.inputs)
            padded = nn.functional.pad(tokens, (0, config.model.text.context_length - tokens.shape[1]))
            for group in adamw.param_groups:
                group["lr"] = learning_rate
            adamw.zero_grad()
            loss = their_loss(*theirs(image, padded)[:3])
            loss.backward()
            adamw.step()
            with torch.no_grad():
                theirs.logit_scale.clamp_(0, math.log(100))
            peer.append(loss.item())
    assert len(ours) == num_steps
    assert ours[-1] < ours[0] - (0.3 if num_steps == 200 else 0.1)
    assert ours == pytest.approx(peer, abs=1e-4)
