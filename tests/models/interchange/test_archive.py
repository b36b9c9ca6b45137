from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from models.interchange.archive import is_archive, read_archive, write_archive
from openwit.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

TENSORS = {
    "visual.conv1.weight": torch.randn(4, 3, 2, 2).half(),
    "visual.blocks.0.weight": torch.randn(3, 5).T,
    "visual.blocks.1.weight": torch.randn(2).bfloat16(),
    "logit_scale": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "input_resolution": torch.tensor(224),
}


class Writer(nn.Module):
    """Writes a file when `torch.jit.load` restores it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.path = path

    def forward(self) -> torch.Tensor:
        return self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        return (self.weight, self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        self.weight = state[0]  # type: ignore[assignment]
        self.path = state[1]
        self.training = state[2]
        torch.save(state[0], state[1])


def test_what_is_written_is_what_torch_and_we_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    write_archive(TENSORS, path)
    assert is_archive(path)
    for found in (torch.jit.load(path).state_dict(), read_archive(path)):
        assert found.keys() == TENSORS.keys()
        for name, tensor in TENSORS.items():
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor), name


def test_a_scripted_network_of_real_layers_is_read_without_being_run(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(3, 2))).half()
    torch.jit.save(torch.jit.script(network), tmp_path / "model.pt")
    found = read_archive(tmp_path / "model.pt")
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())


def test_a_traced_network_is_read_too(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU()).eval()
    torch.jit.save(torch.jit.trace(network, torch.ones(1, 3)), tmp_path / "model.pt")
    assert torch.equal(read_archive(tmp_path / "model.pt")["0.weight"], network[0].weight)  # type: ignore[arg-type]


def test_the_program_of_an_archive_is_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    torch.jit.save(torch.jit.script(Writer(str(victim))), tmp_path / "model.pt")
    torch.jit.load(tmp_path / "model.pt")
    assert victim.exists(), "torch.jit.load runs it: the danger is real"
    victim.unlink()
    with pytest.raises(InputError, match="damaged TorchScript archive"):
        read_archive(tmp_path / "model.pt")
    assert not victim.exists()


class Command:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def repacked(source: Path, target: Path, changed: dict[str, bytes]) -> Path:
    """The archive with records (by the end of their names) replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            (data,) = [changed[end] for end in changed if name.endswith(f"/{end}")] or [old.read(name)]
            new.writestr(name, data)
    return target


def test_pickled_code_in_an_archive_is_named_and_not_run(tmp_path: Path) -> None:
    write_archive(TENSORS, tmp_path / "model.pt")
    code = pickle.dumps(Command(f"{tmp_path}/ran"))
    evil = repacked(tmp_path / "model.pt", tmp_path / "evil.pt", {"data.pkl": code})
    with pytest.raises(InputError, match=r"evil\.pt: asks to run posix\.system.*was not run"):
        read_archive(evil)
    assert not (tmp_path / "ran").exists()


def test_a_storage_shorter_than_its_tensor_is_refused(tmp_path: Path) -> None:
    write_archive({"weight": torch.ones(6)}, tmp_path / "model.pt")
    short = repacked(tmp_path / "model.pt", tmp_path / "short.pt", {"data/0": b"\0" * 8})
    with pytest.raises(InputError, match=r"short\.pt: is a damaged.*8 bytes for 6 numbers"):
        read_archive(short)


def test_a_tensor_that_reaches_past_its_storage_is_refused(tmp_path: Path) -> None:
    write_archive({"weight": torch.ones(6, 7)}, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        tree = archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))
    assert tree.count(b"K\x06K\x07") == 1  # its shape, as pickle spells it
    tree = tree.replace(b"K\x06K\x07", b"K\x60K\x07")
    long = repacked(tmp_path / "model.pt", tmp_path / "long.pt", {"data.pkl": tree})
    with pytest.raises(InputError, match="damaged TorchScript archive"):
        read_archive(long)


@pytest.mark.parametrize("part", [0.2, 0.6, 0.999])
def test_a_cut_archive_is_no_archive(tmp_path: Path, part: float) -> None:
    path = tmp_path / "model.pt"
    write_archive(TENSORS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    assert not is_archive(path)
