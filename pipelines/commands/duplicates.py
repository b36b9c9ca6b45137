"""openwit dedup-check: the overlap of the shards with the recipe's evaluation sets, on Ray.

openwit dedup-within: copies inside the shards, of which one is kept with the captions of all.

openwit calibrate: the thresholds of dedup-check, from images of the user's own shards.

Before a check, a model is asked what it answers on the sets: duplicates/correct/, by which the report splits accuracy.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.duplicates.config import split_eval_set
from datagen.duplicates.eval_sets import formats
from datagen.duplicates.overlap.accuracy import CORRECT
from datagen.duplicates.overlap.check import check_overlap
from datagen.duplicates.within.find import find_within
from openwit import storage
from openwit.config import digest
from openwit.errors import ConfigError, InputError
from openwit.stage import Input
from pipelines.session import Invocation, open_run, require
from train.checkpoints.layout import latest

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


def run_dedup_check(invocation: Invocation) -> None:
    """Writes duplicates/ (report, overlap a set, exclusions) and prints the share of each set."""
    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    if not invocation.dry_run:
        write_answers(invocation)
    with open_run(invocation, recipe.overlap_executor) as run:
        report = check_overlap(run, recipe.overlap)
        for line in report.lines():
            invocation.log.say(line)


def run_dedup_within(invocation: Invocation) -> None:
    """Writes duplicates/within/ and exclusions.parquet and merges captions; then the overlap is looked for again, as
    kept images have new pairs."""
    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    with open_run(invocation, recipe.overlap_executor) as run:
        found = find_within(run, recipe.within)
        invocation.log.say(f"within: {found}")
    if recipe.overlap.eval_sets:
        run_dedup_check(invocation)


def run_calibrate(invocation: Invocation) -> None:
    """Writes duplicates/calibration.json and prints each set's thresholds."""
    from datagen.duplicates.overlap.calibrate import calibrate

    recipe = invocation.recipe
    require(invocation, "shards", "build-dataset")
    with open_run(invocation, recipe.overlap_executor) as run:
        result = calibrate(run, recipe.overlap, recipe.calibrate)
        for line in result.lines():
            invocation.log.say(line)


MADE_FROM = b"made_from"
DECODING = 2  # how images are decoded; with another number, a model is asked anew


@dataclass(frozen=True)
class _Asked:
    """A set that the model is asked about: its partitions, and where the answers go."""

    name: str
    url: str
    parts: Sequence[tuple[Input, ...]]
    answers: str
    made_from: str

    @property
    def is_done(self) -> bool:
        if not storage.exists(self.answers):
            return False
        with storage.open_input(self.answers) as file:
            return bool((pq.read_schema(file).metadata or {}).get(MADE_FROM) == self.made_from.encode())

    def examples(self) -> Iterator[tuple[str, bytes, str]]:
        """Key, image and label of all images that have a label."""
        for part in self.parts:
            yield from ((found.key, found.data, found.label) for found in formats.read(part) if found.label)


@dataclass
class _Images:
    """A set's images as the model takes them; the keys and labels of those that can be decoded are noted as they
    pass. The index counts the others."""

    asked: _Asked
    preprocess: Callable[[Image], Tensor]
    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Tensor]:
        from models.preprocess import decode_image

        for key, data, label in self.asked.examples():
            try:
                image = decode_image(data)
            except InputError:
                continue
            self.keys.append(key)
            self.labels.append(label)
            yield self.preprocess(image)


def write_answers(invocation: Invocation) -> None:
    """Asks the recipe's overlap_model about every evaluation set that has labels; what was asked before, of the same
    weights and prompts, stays. Without a model, no answers are left. Raises InputError where the model is missing."""
    folder = storage.join(invocation.work, "duplicates", "correct")
    about = storage.join(folder, "model.json")
    path = _model_path(invocation)
    if path is None:
        storage.delete(about)
        return
    marks = digest(_weights(path), invocation.recipe.evaluate.zero_shot.prompts, DECODING)
    asked = [_asked(folder, entry, marks) for entry in invocation.recipe.overlap.eval_sets]
    todo = [entry for entry in asked if not entry.is_done]
    if todo:
        storage.delete(about)  # it vouches for the answers
        _answer(invocation, path, todo)
    storage.write_json(about, {"model": path, "learned_all": _learned_all(invocation, path)})


def _model_path(invocation: Invocation) -> str | None:
    wanted = invocation.recipe.overlap_model
    if wanted == "none":
        return None
    if wanted == "latest":
        return latest(storage.join(invocation.work, "pretrain", "checkpoints"))
    if not storage.exists(wanted):
        raise ConfigError(f"overlap_model={wanted}: no such file or folder; write a model's path, latest or none")
    return wanted


def _weights(path: str) -> str:
    """A text that changes with the model: of a folder, with any of its files."""
    return digest(storage.list_tree(path)) if storage.list_tree(path) else storage.identity(path)


def _asked(folder: str, entry: str, marks: str) -> _Asked:
    name, url = split_eval_set(entry)
    parts = formats.partitions(url)
    identities = [[entry.identity for entry in part] for part in parts]
    return _Asked(name, url, parts, storage.join(folder, f"{name}.parquet"), digest(marks, identities))


def _learned_all(invocation: Invocation, path: str) -> bool:
    """Whether the training had the overlapping images too; of other people's models that is assumed."""
    record = storage.join(invocation.work, "pretrain", "config.json")
    own = path == latest(storage.join(invocation.work, "pretrain", "checkpoints"))
    return not (own and storage.exists(record) and storage.read_json(record).get("job", {}).get("exclusions"))


def _answer(invocation: Invocation, path: str, todo: Sequence[_Asked]) -> None:
    import torch

    import models
    from models.tokenizer.tokenizer import Tokenizer
    from train.evals.zero_shot import classifier_weights, predict

    config, device = invocation.recipe.evaluate.zero_shot, invocation.recipe.overlap.device
    with storage.local_copy(path) as copy:
        model = models.load(str(copy))
    model.to("cuda" if device == "auto" and torch.cuda.is_available() else "cpu" if device == "auto" else device)
    tokenizer = Tokenizer.of(model.config.text, invocation.recipe.pretrain.merges)

    for entry in todo:
        names = sorted({label for _, _, label in entry.examples()})
        images, right = _Images(entry, model.preprocess), list[bool]()
        if len(names) > 1:
            weights = classifier_weights(model, tokenizer, names, config.prompts)
            for best in predict(model, images, weights, config):
                truth = images.labels[len(right) :]
                right += [names[place] == label for place, label in zip(best.tolist(), truth, strict=True)]
        _publish(entry, images.keys, right)
        accuracy = (
            f"{sum(right) / len(right):.1%} of {len(right):,} right" if right else "it has fewer than two classes"
        )
        invocation.log.say(f"zero-shot on {entry.name}: {accuracy}")


def _publish(entry: _Asked, keys: list[str], right: list[bool]) -> None:
    schema = CORRECT.with_metadata({MADE_FROM: entry.made_from.encode()})
    buffer = io.BytesIO()
    pq.write_table(pa.table([keys, right], schema=schema), buffer, compression="zstd")
    storage.write_bytes(entry.answers, buffer.getvalue())
