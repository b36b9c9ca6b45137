from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from datagen.duplicates.config import EmbedConfig
from datagen.duplicates.embed import Embedder, detector_input, embed_set, made_copy, open_embedder
from datagen.duplicates.eval_sets import formats
from helpers.crawled import jpeg, png, scene, write_eval_set
from helpers.descriptors import write_descriptor
from openwit.errors import ConfigError, InputError
from openwit.images import decode
from openwit.stage import Counts, Source, Target


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_descriptor(tmp_path_factory.mktemp("descriptor") / "coarse.pt")


def embed(folder: Path, images: Mapping[str, bytes], detector: str) -> Counts:
    (part,) = formats.partitions(str(write_eval_set(folder / "e.parquet", images)))
    source = Source(index=0, inputs={"eval_set": part, "detector": (detector_input(detector),)})
    return embed_set(EmbedConfig(name="things", device="cpu"), source, Target(0, folder))


def test_a_vector_is_the_same_in_any_batch(detector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(detector, "cpu")
    prepared = [embedder.prepare(png(scene(seed))) for seed in range(40)]
    together = embedder.embed(prepared)
    assert together.shape == (40, 108)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embedder.embed([one]) for one in prepared])
    assert np.abs(together - alone).max() < 1e-5
    monkeypatch.setattr(embedder, "batch", 7)
    assert np.abs(together - embedder.embed(prepared)).max() < 1e-5
    assert embedder.embed([]).shape == (0, 108)


def test_a_sets_vectors_stand_beside_their_keys_and_what_cannot_be_decoded_is_counted(
    tmp_path: Path, detector: str
) -> None:
    images = {f"k{seed}": jpeg(scene(seed)) for seed in range(70)} | {"bad": b"no image"}
    assert dict(embed(tmp_path, images, detector)) == {"in": 71, "kept": 70, "dropped.undecodable": 1}
    rows = pq.read_table(tmp_path / "00000.parquet").to_pylist()
    assert [(row["eval_set"], row["eval_key"]) for row in rows] == [("things", f"k{seed}") for seed in range(70)]
    embedder = Embedder(detector, "cpu")
    last = embedder.embed([embedder.prepare(jpeg(scene(69)))])[0]
    assert np.allclose(np.frombuffer(rows[69]["vector"], np.float32), last, atol=1e-5)


def test_transparent_images_are_prepared_as_they_are_hashed(detector: str) -> None:
    embedder = Embedder(detector, "cpu")
    image = np.dstack([scene(1), np.full((128, 128), 255, np.uint8)])
    image[:64, :, 3] = 0
    prepared = embedder.prepare(png(image))
    assert (prepared[:, 0] == 255).all()
    plain = cv2.resize(decode(png(image)), (48, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(prepared.transpose(1, 2, 0).astype(int) - plain).max() <= 1


def test_the_input_differs_with_the_weights_and_the_notes_beside_them(tmp_path: Path) -> None:
    path = write_descriptor(tmp_path / "a.pt")
    identities = [detector_input(path).identity]
    write_descriptor(tmp_path / "a.pt", image_px=40)
    identities.append(detector_input(path).identity)
    write_descriptor(tmp_path / "a.pt", side=5)
    identities.append(detector_input(path).identity)
    (tmp_path / "folder").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "folder" / name).write_text(name)
    identities.append(detector_input(str(tmp_path / "folder")).identity)
    assert len(set(identities)) == 4
    with pytest.raises(InputError, match=r"gone\.pt: no such file"):
        detector_input(str(tmp_path / "gone.pt"))


def test_a_worker_loads_a_descriptor_once_and_another_in_its_place_anew(detector: str) -> None:
    first = open_embedder(detector, "one", "cpu")
    assert open_embedder(detector, "one", "cpu") is first
    assert open_embedder(detector, "two", "cpu") is not first


def test_copies_are_made_by_their_seed() -> None:
    image = png(scene(1))
    assert made_copy(image, 1) == made_copy(image, 1)
    assert made_copy(image, 1) != made_copy(image, 2)
    assert decode(made_copy(image, 1)).ndim == 3
    with pytest.raises(InputError, match="not a readable image"):
        made_copy(b"no image", 1)


def test_a_gpu_that_is_not_there_is_a_config_error(detector: str) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigError, match=r"overlap\.device=cuda: this machine has no GPU; write auto or cpu"):
        Embedder(detector, "cuda")
    assert Embedder(detector, "auto").descriptor.device.type == "cpu"
