# mypy: disable-error-code="arg-type, union-attr"
from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import models
from helpers import s3_server
from helpers.patience import patience
from helpers.ranks import run_ranks
from helpers.training import CONFIG, MODEL, alone, newest
from models.clip import Clip
from openwit import storage
from openwit.errors import InputError, WorkError
from train.checkpoints import layout
from train.checkpoints.checkpoints import (
    Checkpoints,
    State,
    load_model,
    load_optimizer,
    load_state,
    load_weights,
    restore,
)
from train.checkpoints.layout import latest, steps
from train.data.batches import Cursor
from train.data.lanes import LaneCursor
from train.optim.optimizer import build_optimizer, state_by_name
from train.ranks import join_ranks


def learned() -> Any:
    """A model and an optimizer that have taken a step."""
    torch.manual_seed(0)
    model = Clip(MODEL)
    optimizer = build_optimizer(model, CONFIG)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    return model, optimizer


@pytest.fixture
def trained() -> Any:
    return learned()


@pytest.fixture
def ranks() -> Iterator[Any]:
    with alone(), join_ranks("cpu") as joined:
        yield joined


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "local":
        return str(tmp_path / "checkpoints")
    server = s3_server.running()
    server.use(monkeypatch)
    return f"{server.new_bucket()}/run/checkpoints"


def state_of(step: int) -> Any:
    scaler = {"scale": 65536.0, "growth_interval": 2000, "_growth_tracker": step}
    return State(config=CONFIG, cursor=Cursor(step, {3: LaneCursor(7, {"image": 2})}), scaler=scaler)


def save(folder: str, ranks: Any, trained: Any, *numbers: Any, keep_last: int = 2) -> None:
    with Checkpoints(str(folder), ranks, keep_last) as checkpoints:
        for step in numbers:
            checkpoints.save(state_of(step), *trained)


def same_tensors(one: Any, other: Any) -> Any:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_weights_statistics_and_state_come_back_bit_for_bit(folder: str, ranks: Any, trained: Any) -> None:
    assert restore(folder, *trained) is None
    save(folder, ranks, trained, 5)
    model = Clip(MODEL)
    optimizer = build_optimizer(model, CONFIG)
    assert restore(folder, model, optimizer) == state_of(5)
    assert same_tensors(model.state_dict(), trained[0].state_dict())
    assert state_by_name(trained[1], trained[0])
    assert same_tensors(state_by_name(optimizer, model), state_by_name(trained[1], trained[0]))


def test_the_newest_are_kept_and_nothing_else_is_left(folder: str, ranks: Any, trained: Any) -> None:
    save(folder, ranks, trained, 4, 8, 12)
    assert steps(folder) == [8, 12]
    assert latest(folder).endswith("step-00000012")
    files = {"model.safetensors", "config.json", "optimizer-00000.safetensors", "state.json"}
    assert set(storage.list_tree(folder)) == {f"step-{step:08d}/{name}" for step in (8, 12) for name in files}


def test_what_a_kill_left_half_written_is_no_checkpoint_and_goes_at_the_next_start(
    folder: str, ranks: Any, trained: Any
) -> None:
    save(folder, ranks, trained, 4)
    layout.begin(folder, 8)
    storage.write_bytes(storage.join(layout.unfinished(folder, 8), "model.safetensors"), b"half")
    assert steps(folder) == [4]
    layout.clear_unfinished(folder)
    assert {path.split("/")[0] for path in storage.list_tree(folder)} == {"step-00000004"}
    save(folder, ranks, trained, 8)
    assert steps(folder) == [4, 8]


def test_it_is_written_in_the_background_as_it_was_when_save_returned(tmp_path: Path, ranks: Any, trained: Any) -> None:
    model, optimizer = trained
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    goes_on = threading.Event()
    with Checkpoints(str(tmp_path), ranks, 2, before_commit=lambda: goes_on.wait(patience(60))) as checkpoints:
        checkpoints.save(state_of(5), model, optimizer)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert steps(str(tmp_path)) == []
        goes_on.set()
        checkpoints.save(state_of(6), model, optimizer)
        assert steps(str(tmp_path)) == [5]  # the second waited for it
    assert steps(str(tmp_path)) == [5, 6]
    load_weights(str(tmp_path / "step-00000005"), model)
    assert same_tensors(model.state_dict(), before)


@contextlib.contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[Any]:
    """As a full disk, to this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_what_goes_wrong_in_the_background_is_raised_by_the_next_call_and_leaves_nothing(
    tmp_path: Path, ranks: Any, trained: Any
) -> None:
    save(tmp_path, ranks, trained, 4)
    with Checkpoints(str(tmp_path), ranks, 2) as checkpoints:
        with no_file_larger_than(1000):
            checkpoints.save(state_of(8), *trained)
            with pytest.raises(WorkError, match=r"cannot be written .*File too large"):
                checkpoints.wait()
        assert steps(str(tmp_path)) == [4]
        assert not list((tmp_path / ".scratch").iterdir())
        checkpoints.save(state_of(8), *trained)
    assert steps(str(tmp_path)) == [4, 8]


def written_together(folder: str) -> Any:
    """A checkpoint of step 5 by all ranks; then one of step 8 for which the second has no space: what each says."""
    trained = learned()
    with join_ranks("cpu") as ranks, Checkpoints(folder, ranks, 2) as checkpoints:
        checkpoints.save(state_of(5), *trained)
        checkpoints.wait()
        with no_file_larger_than(1000) if ranks.rank == 1 else contextlib.nullcontext():
            checkpoints.save(state_of(8), *trained)
            with pytest.raises(WorkError) as raised:
                checkpoints.wait()
            return str(raised.value)


def test_ranks_write_shares_equal_but_for_a_tensor_that_one_rank_reads_and_all_hear_of_an_error(
    tmp_path: Path, trained: Any
) -> None:
    messages = run_ranks(written_together, 2, str(tmp_path), join_group=False)
    assert "optimizer-00001.safetensors" in messages[0]
    assert "File too large" in messages[0]
    assert messages[0] == messages[1]
    assert steps(str(tmp_path)) == [5]

    files = {path.name: load_file(path) for path in (tmp_path / "step-00000005").glob("*.safetensors")}
    assert files.keys() == {"model.safetensors", "optimizer-00000.safetensors", "optimizer-00001.safetensors"}
    second = files.pop("optimizer-00001.safetensors")
    first = files["model.safetensors"] | files["optimizer-00000.safetensors"]
    largest = max(tensor.nbytes for tensor in first.values())
    bytes_of_both = [sum(tensor.nbytes for tensor in share.values()) for share in (first, second)]
    assert abs(bytes_of_both[0] - bytes_of_both[1]) <= largest

    model = Clip(MODEL)
    optimizer = build_optimizer(model, CONFIG)
    assert restore(str(tmp_path), model, optimizer) == state_of(5)
    assert same_tensors(model.state_dict(), trained[0].state_dict())
    assert same_tensors(state_by_name(optimizer, model), state_by_name(trained[1], trained[0]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, ranks: Any, trained: Any) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(WorkError, match=r"closed.*cannot be written"):
        save(tmp_path / "closed", ranks, trained, 4)


def test_ranks_without_a_common_disk_are_told(tmp_path: Path, ranks: Any, trained: Any) -> None:
    layout.begin(str(tmp_path), 5)
    with pytest.raises(WorkError, match=r"optimizer-00001.*is not there; give a --work on a disk that all nodes share"):
        layout.commit(str(tmp_path), 5, ["optimizer-00001.safetensors"], {})


def test_a_folder_without_checkpoints_or_none_at_all_has_no_latest(tmp_path: Path) -> None:
    assert latest(str(tmp_path)) is None
    assert latest(str(tmp_path / "nothing")) is None
    (tmp_path / ".scratch" / "openwit-x" / "step-00000009").mkdir(parents=True)
    (tmp_path / "step-9").mkdir()
    assert latest(str(tmp_path)) is None


def test_the_evaluated_model_is_the_trained_one(folder: str, ranks: Any, trained: Any) -> None:
    save(folder, ranks, trained, 5)
    model = load_model(newest(folder))
    assert not model.training
    image, tokens = torch.randn(2, 3, 16, 16), torch.tensor([[49406, 5, 49407], [49406, 9, 49407]])
    assert torch.equal(model.encode_image(image), trained[0].encode_image(image))
    assert torch.equal(model.encode_text(tokens), trained[0].encode_text(tokens))


def test_a_checkpoint_is_a_model_that_anyone_can_load(tmp_path: Path, ranks: Any, trained: Any) -> None:
    save(tmp_path, ranks, trained, 5)
    model = models.load(newest(str(tmp_path)))
    assert model.config == MODEL
    assert same_tensors(model.state_dict(), trained[0].state_dict())


def test_what_is_no_checkpoint_or_a_damaged_one_is_named(tmp_path: Path, ranks: Any, trained: Any) -> None:
    with pytest.raises(InputError, match="is no checkpoint"):
        load_model(str(tmp_path))
    save(tmp_path, ranks, trained, 5)
    folder = latest(str(tmp_path))
    (tmp_path / "step-00000005" / "optimizer-00000.safetensors").unlink()
    with pytest.raises(InputError, match=r"optimizer-00000\.safetensors: cannot be read"):
        load_optimizer(folder, *trained)
    weights = tmp_path / "step-00000005" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        load_model(folder)
    (tmp_path / "step-00000005" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="is no training state"):
        load_state(folder)
