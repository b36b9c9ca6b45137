from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from datagen.duplicates.eval_sets import formats
from helpers.crawled import jpeg, scene
from openwit.errors import ConfigError, InputError
from openwit.images import decode


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray) -> None:
    """CIFAR-10's test split as torchvision wants it, of these images (N, 32, 32, 3) RGB; its digests are told."""
    from torchvision.datasets import CIFAR10

    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    labels = [n % 10 for n in range(len(pixels))]
    batch = {"data": pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1), "labels": labels}
    meta = {"label_names": [f"class {n}" for n in range(10)]}
    digests = {}
    for name, content in (("test_batch", batch), ("batches.meta", meta)):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        digests[name] = hashlib.md5(data).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": digests["batches.meta"]})


def read_all(url: str) -> list[tuple[str, bytes, str]]:
    return [(e.key, e.data, e.label) for part in formats.partitions(url) for e in formats.read(part)]


def test_pixels_come_losslessly_with_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([cv2.resize(scene(seed), (32, 32)) for seed in range(12)])
    write_cifar(tmp_path, monkeypatch, pixels)
    rows = read_all(f"torchvision:CIFAR10?root={tmp_path}&train=false")
    assert [(key, label) for key, _, label in rows] == [(str(n), f"class {n % 10}") for n in range(12)]
    for (_, data, _), image in zip(rows, pixels, strict=True):
        assert np.array_equal(decode(data), image)


def test_files_come_byte_for_byte(tmp_path: Path) -> None:
    for label, seed in (("cat", 1), ("dog", 2)):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.jpg").write_bytes(jpeg(scene(seed)))
    rows = read_all(f"torchvision:ImageFolder?root={tmp_path}")
    assert rows == [("0", jpeg(scene(1)), "cat"), ("1", jpeg(scene(2)), "dog")]


def test_another_file_makes_another_identity(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.jpg").write_bytes(jpeg(scene(1)))
    url = f"torchvision:ImageFolder?root={tmp_path}"
    before = formats.partitions(url)
    assert formats.partitions(url) == before
    (tmp_path / "cat" / "x.jpg").write_bytes(jpeg(scene(2), 80))
    assert formats.partitions(url)[0][0].identity != before[0][0].identity


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("torchvision:CIFAR10", r"expected torchvision:CLASS\?root=DIR"),
        ("torchvision:Nothing?root=x", "torchvision has no data set Nothing"),
        ("torchvision:CIFAR10?root=x&split=test", "CIFAR10 takes no split here, only root, train"),
        ("torchvision:CIFAR10?root=x&download=true", "takes no download"),
        ("torchvision:CIFAR10?root=x&train=no", "no: expected true or false"),
    ],
)
def test_what_torchvision_does_not_have_is_a_config_error(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        formats.partitions(url)


def test_a_set_that_is_not_there_is_an_input_error_and_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is downloaded here"):
        formats.partitions(f"torchvision:CIFAR10?root={tmp_path}&train=false")
