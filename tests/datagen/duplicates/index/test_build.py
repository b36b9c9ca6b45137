from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datagen.duplicates.config import MergeConfig
from datagen.duplicates.index.build import _neighbours, build_vector_index, merge
from helpers.crawled import png, scene
from helpers.descriptors import write_descriptor
from helpers.eval_index import index_files
from openwit.errors import InputError
from openwit.stage import Input, Source, Target


def unit(random: np.random.Generator, number: int, width: int = 32) -> np.ndarray:
    vectors = random.normal(size=(number, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


def test_few_vectors_are_compared_one_by_one() -> None:
    vectors = unit(np.random.default_rng(0), 50)
    index, notes = build_vector_index(vectors, MergeConfig(exact_vectors=50, least_score=0.5))
    assert notes == {"kind": "flat", "number": 50}
    assert index.ntotal == 50


def test_an_inverted_file_finds_what_the_exact_one_does_and_says_how_much() -> None:
    random = np.random.default_rng(1)
    centres = np.repeat(unit(random, 40), 100, axis=0)
    noise = unit(random, 4000)
    vectors = centres + 0.8 * noise
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    index, notes = build_vector_index(vectors, MergeConfig(exact_vectors=100, least_score=0.7))
    exact, _ = build_vector_index(vectors, MergeConfig(exact_vectors=10_000, least_score=0.7))
    queries = vectors[::7] + 0.1 * unit(random, len(vectors[::7]))
    truth, found = (set(_neighbours(i, queries.astype(np.float32), 0.8)) for i in (exact, index))
    assert len(truth) > 500
    assert found <= truth
    assert len(found) >= 0.995 * len(truth)
    assert notes["kind"] == "ivf"
    assert notes["recall"] >= 0.999  # type: ignore[operator]
    assert 1 <= notes["nprobe"] <= notes["lists"]  # type: ignore[operator]
    again, same = build_vector_index(vectors, MergeConfig(exact_vectors=100, least_score=0.7))
    assert same == notes
    assert set(_neighbours(again, queries.astype(np.float32), 0.8)) == found


def test_the_merged_files_hold_every_set_in_order_and_say_what_they_are(tmp_path: Path) -> None:
    detector = write_descriptor(tmp_path / "coarse.pt")
    sets = {"b": {"k1": png(scene(1)), "k2": png(scene(2))}, "a": {"k1": png(scene(3))}}
    files = {Path(entry.url).name: entry.url for entry in index_files(tmp_path, sets, detector=detector)}
    assert np.load(files["00000.vectors.npy"]).shape == (3, 108)
    assert np.load(files["00000.hash256.npy"]).shape == (48, 4)
    notes = json.loads((tmp_path / "search" / "notes" / "00000_stats.json").read_text())
    assert notes == {"images": 3, "views": 48, "vectors": {"kind": "flat", "number": 3}}


def test_a_key_in_two_parts_of_a_set_is_an_input_error(tmp_path: Path) -> None:
    index_files(tmp_path, {"things": {"k1": png(scene(1))}})
    part = Input.outside(str(tmp_path / "things" / "00000.parquet"))
    with pytest.raises(InputError, match="set things: the key 'k1' occurs twice"):
        merge(MergeConfig(exact_vectors=9, least_score=0.5), Source(index=0, inputs={"index": (part, part)}),
              Target(1, tmp_path / "search"))  # fmt: skip
