"""Thresholds from scores: what share of the matched images would be copies, and where that share is high enough.

What is known of a threshold t is its recall r(t) among copies that were made, and its false alarms f(t), the share of
the sampled images that are no copies and still reach t. The precision follows with the assumed prevalence p of
copies among the shards' images:

    precision(t) = p r(t) / (p r(t) + (1 - p) f(t))

Far out a sample holds few false alarms or none, and their share is not nil because of that. So beyond the sample's
98th percentile (the 10 highest scores of a small sample) f is at least that of an exponential tail with the mean excess
of what the sample has there. Scores end at 1, so the true tail falls faster. Copies that nobody knows of are taken for
false alarms; they make the threshold stricter, never laxer, and the images nearest to a set are listed for a person
to see. Where no threshold reaches the wanted precision the strictest is chosen, which all but switches the stage off;
where there are too few images to judge by, the config's threshold stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from datagen.duplicates.config import CalibrateConfig
from openwit import storage
from openwit.log.text_table import text_table

CALIBRATION = "calibration.json"
TAIL = 0.98  # of the sample: where the fitted tail begins
LEAST_TAIL = 10  # scores by which it is fitted, and five times as many must there be
STEP = 0.001
RANGE = {"phash": (0.75, 1.0), "detector": (0.2, 1.0)}  # of scores that a threshold may have
BINS = 50
CONFIDENCE = 0.95

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StageCalibration:
    """One stage of the cascade for one set."""

    threshold: float  # as the config has it: of the detector a least score, of the hash a greatest distance
    attained: bool  # whether the wanted precision is reached there; else it is the strictest there is
    judged: bool  # whether there were enough other images; else it is not used
    precision: float  # by the formula above
    least_precision: float  # the same with the upper end of a 95% interval of the false alarms that were seen
    recall: float  # among the copies that were made
    false_alarms: float  # share of the sampled images, by the fitted tail where that is greater
    num_copies: int
    num_others: int
    num_known: int  # images of the sample that are copies by another stage, and left out
    edges: list[float]  # of the bins of both histograms
    copies: list[int]  # by score
    others: list[int]

    @property
    def caveat(self) -> str:
        """What a person must know of the threshold."""
        if not self.judged:
            return f"not used: at least {5 * LEAST_TAIL} other images are needed"
        return "" if self.attained else "no threshold has the wanted precision, so this is the strictest"


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """A sampled image that is no known copy, and the evaluation image nearest to it."""

    stage: str
    key: str
    eval_key: str
    score: float


@dataclass(frozen=True, kw_only=True)
class SetCalibration:
    """One evaluation set."""

    name: str
    sha256: str  # of its keys and bytes: of another content the thresholds are not used
    stages: dict[str, StageCalibration]
    nearest: list[Nearest]  # of the sampled images, which a person should look at


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `openwit calibrate` found."""

    config: CalibrateConfig
    detector: str  # identity of the detector; with another one the thresholds are not used
    shards: str  # digest of the data set that was sampled
    assumed: str
    sets: list[SetCalibration]

    def thresholds(self, detector: str, sets: dict[str, str]) -> dict[str, dict[str, float]]:
        """Set -> stage -> threshold, of those sets (name -> sha256) that are unchanged."""
        same = [entry for entry in self.sets if sets.get(entry.name) == entry.sha256 and self.detector == detector]
        return {
            entry.name: {stage: found.threshold for stage, found in entry.stages.items() if found.judged}
            for entry in same
        }

    def lines(self) -> list[str]:
        """What a person reads at the terminal."""
        found = [(entry.name, stage, chosen) for entry in self.sets for stage, chosen in entry.stages.items()]
        columns = ("set", "stage", "threshold", "precision", "at least", "recall", "copies", "others")
        rows = [
            (name, stage, f"{c.threshold:.3f}", f"{c.precision:.1%}", f"{c.least_precision:.1%}", f"{c.recall:.1%}",
             c.num_copies, c.num_others)
            for name, stage, c in found
        ]  # fmt: skip
        caveats = [f"  {name}, {stage}: {c.caveat}" for name, stage, c in found if c.caveat]
        return [text_table(columns, rows), *caveats]


def read_calibration(folder: str) -> Calibration | None:
    """The calibration that stands in the folder; None where there is none, or one of another version."""
    url = storage.join(folder, CALIBRATION)
    if not storage.exists(url):
        return None
    try:
        return msgspec.json.decode(storage.read_bytes(url), type=Calibration)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None


def choose(stage: str, copies: F64, others: F64, known: int, config: CalibrateConfig) -> StageCalibration:
    """The laxest threshold of the stage that has the wanted precision, from the scores of copies with their originals
    and of other images with the nearest evaluation image."""
    least, most = RANGE[stage]
    scores = np.round(np.arange(least, most + STEP / 2, STEP), 3)
    recalls = 1 - np.searchsorted(np.sort(copies), scores) / max(1, len(copies))
    alarms = false_alarms(others, scores)
    precisions = precision(recalls, alarms, config.prevalence)
    good = np.flatnonzero(precisions >= config.precision)
    at = int(good[0]) if len(good) else len(scores) - 1
    seen = int((others >= scores[at]).sum())
    bound = float(beta.ppf(CONFIDENCE, seen + 1, len(others) - seen)) if seen < len(others) else 1.0
    edges = np.linspace(0, 1, BINS + 1)
    threshold = float(scores[at]) if stage == "detector" else round(1 - float(scores[at]), 3)
    return StageCalibration(
        threshold=threshold,
        attained=bool(len(good)),
        judged=len(others) >= 5 * LEAST_TAIL,
        precision=round(float(precisions[at]), 5),
        least_precision=round(float(precision(recalls[at], bound, config.prevalence)), 5),
        recall=round(float(recalls[at]), 5),
        false_alarms=float(alarms[at]),
        num_copies=len(copies),
        num_others=len(others),
        num_known=known,
        edges=np.round(edges, 3).tolist(),
        copies=np.histogram(np.clip(copies, 0, 1), edges)[0].tolist(),
        others=np.histogram(np.clip(others, 0, 1), edges)[0].tolist(),
    )


def precision(recall: F64 | float, alarms: F64 | float, prevalence: float) -> F64:
    """The share of copies among the matched; 0 where nothing is matched."""
    true = prevalence * np.asarray(recall, np.float64)
    matched = true + (1 - prevalence) * np.asarray(alarms, np.float64)
    return np.divide(true, matched, out=np.zeros_like(matched), where=true > 0)


def false_alarms(others: F64, scores: F64) -> F64:
    """The share of other images that reach each score: as seen, or by the exponential tail where that is more. With
    too few to fit, all that is known is that one more image might have reached any score."""
    seen = 1 - np.searchsorted(np.sort(others), scores) / max(1, len(others))
    if len(others) < 5 * LEAST_TAIL:
        return np.maximum(seen, 1 / (len(others) + 1))
    number = max(LEAST_TAIL, round((1 - TAIL) * len(others)))
    highest = np.sort(others)[-number - 1 :]
    start, excess = highest[0], max(float((highest[1:] - highest[0]).mean()), STEP)
    tail = number / len(others) * np.exp(-np.maximum(scores - start, 0) / excess)
    return np.where(scores > start, np.maximum(seen, tail), seen)
