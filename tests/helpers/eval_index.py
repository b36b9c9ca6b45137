"""Evaluation images indexed, and perhaps embedded, without a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datagen.duplicates.config import EmbedConfig, IndexConfig, Limits, MergeConfig
from datagen.duplicates.embed import detector_input, embed_set
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.index.build import merge
from datagen.duplicates.index.fingerprint import build
from datagen.duplicates.index.query import EvalIndex, Finder
from helpers.crawled import write_eval_set
from openwit.stage import Input, Source, Target


def limits(name: str = "things", distance: float = 0.12, score: float = 0.75) -> Limits:
    """The config's defaults, with these thresholds."""
    return Limits(
        name=name, max_distance64=0.2, max_distance256=distance, max_color_distance=15.0, min_contrast=4.0,
        min_score=score,
    )  # fmt: skip


def index_files(
    folder: Path, sets: Mapping[str, Mapping[str, bytes]], crop: float = 0.03, detector: str = ""
) -> tuple[Input, ...]:
    """The files of one index of these sets: name -> key -> encoded image."""
    index, vectors = [], []
    for name, images in sets.items():
        place = folder / name
        place.mkdir(parents=True)
        (part,) = formats.partitions(str(write_eval_set(folder / f"{name}.parquet", images)))
        build(IndexConfig(name=name, crop=crop), Source(index=0, inputs={"eval_set": part}), Target(0, place))
        index.append(Input.outside(str(place / "00000.parquet")))
        if detector:
            inputs = {"eval_set": part, "detector": (detector_input(detector),)}
            embed_set(EmbedConfig(name=name, device="cpu"), Source(index=0, inputs=inputs), Target(1, place))
            vectors.append(Input.outside(str(place / "00001.parquet")))
    merged = folder / "search"
    merged.mkdir()
    inputs = {"index": tuple(index), **({"vectors": tuple(vectors)} if detector else {})}
    merge(MergeConfig(exact_vectors=1000, least_score=0.5), Source(index=0, inputs=inputs), Target(0, merged))
    files = sorted(path for path in merged.iterdir() if path.is_file())
    return tuple(Input.outside(str(path)) for path in files)


def finder(
    folder: Path, images: Mapping[str, bytes], crop: float = 0.03, detector: str = "", limit: Limits | None = None
) -> Finder:
    """What looks up in one set called things."""
    return Finder(EvalIndex(index_files(folder, {"things": images}, crop, detector)), [limit or limits()])
