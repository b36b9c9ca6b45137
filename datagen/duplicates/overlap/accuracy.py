"""What overlap did to a model's accuracy: All, Overlap and Clean of an evaluation set (CLIP, section 5).

The paper's definitions: All is the whole set, Overlap its images that the training data hold too, Clean the others.
All − Clean is by how much the reported accuracy may be inflated. Overlap is often small, so two checks say whether it
is more than chance: a one-tailed binomial test of Overlap's accuracy with Clean's as the null hypothesis, and the 99.5%
Clopper-Pearson interval of Overlap's accuracy.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from openwit import storage
from openwit.config import digest
from openwit.errors import InputError
from openwit.storage.tables import read_table

CONFIDENCE = 0.995  # of the interval (paper, section 5)
CORRECT = pa.schema([("eval_key", pa.string()), ("correct", pa.bool_())])


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A model on one evaluation set; shares in [0, 1], None where the subset is empty."""

    num_all: int  # images that the model was asked about
    num_overlap: int  # of them in the shards too
    all: float
    overlap: float | None
    clean: float | None
    gain: float | None  # all − clean: what overlap adds to the reported accuracy
    difference: float | None  # overlap − clean
    interval: tuple[float, float] | None  # 99.5% Clopper-Pearson interval of `overlap`
    p_value: float | None  # of at least so many correct on Overlap, were its accuracy Clean's

    @property
    def difference_interval(self) -> tuple[float, float] | None:
        """The interval of overlap − clean, Clean's accuracy taken as known."""
        if self.interval is None or self.clean is None:
            return None
        return self.interval[0] - self.clean, self.interval[1] - self.clean

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        found = self.difference_interval
        return found is not None and (found[0] > 0 or found[1] < 0)


def measure_accuracy(correct: dict[str, bool], overlapping: Collection[str]) -> Accuracy:
    """The accuracies on All, Overlap and Clean, given for each key of the set whether the model was right. Keys of
    `overlapping` that the model was not asked about do not count."""
    inside = np.array([correct[key] for key in sorted(set(overlapping) & correct.keys())], bool)
    hits_all, num_all = sum(correct.values()), len(correct)
    hits_overlap, num_overlap = int(inside.sum()), len(inside)
    whole = hits_all / num_all
    overlap = hits_overlap / num_overlap if num_overlap else None
    clean = (hits_all - hits_overlap) / (num_all - num_overlap) if num_overlap < num_all else None
    return Accuracy(
        num_all=num_all,
        num_overlap=num_overlap,
        all=whole,
        overlap=overlap,
        clean=clean,
        gain=whole - clean if clean is not None else None,
        difference=overlap - clean if overlap is not None and clean is not None else None,
        interval=clopper_pearson(hits_overlap, num_overlap) if num_overlap else None,
        p_value=at_least(hits_overlap, num_overlap, clean) if num_overlap and clean is not None else None,
    )


def at_least(hits: int, trials: int, chance: float) -> float:
    """The probability of `hits` or more among so many trials: the one-tailed (greater) p-value."""
    from scipy.stats import binom

    return float(binom.sf(hits - 1, trials, chance))


def clopper_pearson(hits: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share: each end is the chance under which so many hits, or so few, have probability
    (1 − confidence) / 2."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def read_correct(folder: str, name: str) -> tuple[dict[str, bool], str]:
    """Whether the model was right, by key of the set, and the file's identity; ({}, "") where the set was not asked.

    Raises InputError where correct/<set>.parquet is damaged or names a key twice.
    """
    url = storage.join(folder, "correct", f"{name}.parquet")
    if not storage.exists(url):
        return {}, ""
    table = read_table(url, CORRECT.names)
    if len(pc.unique(table["eval_key"])) != len(table):
        raise InputError(f"{url}: names a key twice; delete it and run dedup-check again")
    answers = zip(table["eval_key"].to_pylist(), table["correct"].to_pylist(), strict=True)
    return dict(answers), storage.identity(url)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answered on the evaluation sets; `model` is empty where none was asked."""

    model: str  # the checkpoint
    learned_all: bool  # whether it was trained on overlapping images too, so that overlap could help it
    correct: dict[str, dict[str, bool]]  # set → key → whether it was right
    identity: str  # differs where any of it does


NO_ANSWERS = Answers(model="", learned_all=True, correct={}, identity="")


def read_answers(folder: str, names: Collection[str]) -> Answers:
    """The answers in correct/ of the folder, for those of the named sets that were asked. Raises InputError where
    they are damaged."""
    url = storage.join(folder, "correct", "model.json")
    if not storage.exists(url):
        return NO_ANSWERS
    about = storage.read_json(url)
    read = {name: read_correct(folder, name) for name in names}
    return Answers(
        model=about["model"],
        learned_all=about["learned_all"],
        correct={name: correct for name, (correct, _) in read.items() if correct},
        identity=digest(about, {name: identity for name, (_, identity) in read.items()}),
    )
