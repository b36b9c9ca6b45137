from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.interchange.archive import write_archive
from models.interchange.tensors import new_file, new_folder, read_tensors, save_tensors
from openwit.errors import InputError, WorkError

WEIGHTS = {"visual.proj": torch.randn(3, 4), "logit_scale": torch.tensor(1.0)}


def write(path: Path) -> None:
    """One of the four kinds of files, by its name."""
    if path.name == "a.safetensors":
        save_file(WEIGHTS, path)
    elif path.name == "d.pt":
        write_archive(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=path.name == "b.pt")


def test_what_is_saved_may_be_read_by_whom_new_files_may(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save_tensors(WEIGHTS, tmp_path / "a.safetensors", {"format": "pt"})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640
    assert same(read_tensors(tmp_path / "a.safetensors"), WEIGHTS)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_safetensors_pickles_of_both_kinds_and_archives_hold_the_same(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.pt", "c.bin", "d.pt"):
        path = tmp_path / name
        write(path)
        assert same(read_tensors(path), WEIGHTS), path.name


def test_a_training_checkpoint_gives_its_state_dict_without_the_prefix_of_distribution(tmp_path: Path) -> None:
    prefixed = {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": prefixed, "optimizer": {"state": {}}}, tmp_path / "epoch_3.pt")
    assert same(read_tensors(tmp_path / "epoch_3.pt"), WEIGHTS)


def test_masks_and_running_numbers_are_no_weights(tmp_path: Path) -> None:
    more = {"attn_mask": torch.ones(2), "text_model.embeddings.position_ids": torch.ones(1, 2)}
    torch.save(WEIGHTS | more, tmp_path / "a.pt")
    assert same(read_tensors(tmp_path / "a.pt"), WEIGHTS)


class Command:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_named_and_not_run(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "evil.pt"
    torch.save({**WEIGHTS, "extra": Command(tmp_path / "ran")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"evil\.pt: asks to run posix\.system, .* it was not run"):
        read_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_code_in_another_pickle_protocol_is_not_run_either(tmp_path: Path) -> None:
    torch.save({**WEIGHTS, "extra": Command(tmp_path / "ran")}, tmp_path / "evil.pt", pickle_protocol=4)
    with (
        pytest.warns(UserWarning, match="pickle protocol 4"),
        pytest.raises(InputError, match="holds more than weights"),
    ):
        read_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_an_object_among_the_weights_is_named(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt: asks to run argparse\.Namespace"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["a.safetensors", "b.pt", "c.bin", "d.pt"])
@pytest.mark.parametrize("num_bytes", [0, 1, 100, -20])
def test_a_cut_file_is_one_error_that_names_it(tmp_path: Path, name: str, num_bytes: int) -> None:
    path = tmp_path / name
    write(path)
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(InputError, match=name):
        read_tensors(path)


@pytest.mark.parametrize("found", [[1, 2], torch.ones(2), {"weight": 3}, {1: torch.ones(2)}])
def test_a_file_of_something_else_says_what_is_expected(tmp_path: Path, found: object) -> None:
    torch.save(found, tmp_path / "a.pt")
    with pytest.raises(InputError, match="expected weights by name, a state_dict"):
        read_tensors(tmp_path / "a.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.pt: no such file"):
        read_tensors(tmp_path / "nothing.pt")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["a.safetensors", "b.pt", "c.bin", "d.pt"])
def test_random_damage_is_refused_or_harmless_never_another_error(tmp_path: Path, name: str) -> None:
    path, random = tmp_path / name, Random(0)
    write(path)
    whole, refused = path.read_bytes(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(random.randint(1, 6)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        path.write_bytes(damaged)
        try:
            read_tensors(path)
        except InputError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("publish", [new_file, new_folder])
def test_nothing_is_there_when_the_writer_fails(tmp_path: Path, publish: Any) -> None:
    def write() -> None:
        with publish(tmp_path / "target") as made:
            (made / "part" if publish is new_folder else made).write_text("half")
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_that_names_the_target(tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "target"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(WorkError, match=r"target: cannot be written \(No space left on device\); free some space"):
        write()


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with new_folder(tmp_path / "target") as made:
        (made / "a").write_text("1")
        (made / "b").write_text("2")
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
