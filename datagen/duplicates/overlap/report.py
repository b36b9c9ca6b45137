"""What the overlap check found, in numbers and tables: per set its share, its pairs, and what training leaves out."""

from __future__ import annotations

import io
import statistics
from dataclasses import asdict, dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.config import REASONS, OverlapConfig
from datagen.duplicates.overlap.accuracy import NO_ANSWERS, Accuracy, Answers, measure_accuracy
from datagen.duplicates.overlap.scan import OVERLAP
from datagen.shards.exclusions import EXCLUSIONS
from openwit import storage
from openwit.config import digest
from openwit.log.text_table import text_table
from openwit.manifest import Manifest
from openwit.storage.tables import read_table

VERSION = 3  # of the report's files
REPORT = "report.json"
PAIRS, INDEX = "pairs", "index"  # the folders of the stages
THRESHOLDS = ("max_distance64", "max_distance256", "max_color_distance", "min_contrast", "crop")
SET_NUMBERS = {
    "name": pa.string(), "url": pa.string(), "sha256": pa.string(), "images": pa.int64(),
    "undecodable": pa.int64(), "overlapping": pa.int64(), "share": pa.float64(), "pairs": pa.int64(),
}  # fmt: skip
ACCURACIES = ("all", "overlap", "clean", "gain", "difference", "p_value")
SET_COLUMNS = [
    "uid", "eval_key", "score", "reason", "distance64", "distance256", "color_distance", "detector", "key", "url",
    "caption",
]  # fmt: skip


@dataclass(frozen=True)
class CheckedSet:
    """One evaluation set as it was indexed."""

    name: str
    url: str
    sha256: str  # of the file; of one over 256 MB its size and mark of change
    images: int
    rows: int
    thresholds: dict[str, float]  # with which it was looked for


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """What of one evaluation set the shards hold."""

    name: str
    url: str
    sha256: str
    images: int  # that could be indexed
    undecodable: int
    overlapping: int  # images of the set that are in the shards
    share: float  # overlapping / images
    pairs: int  # (image of the shards, image of the set)
    by_reason: dict[str, int]  # pairs, by the first stage of the cascade that decided
    thresholds: dict[str, float]
    accuracy: Accuracy | None  # of the model, where one was asked


@dataclass(frozen=True, kw_only=True)
class OverlapReport:
    """The answer to: was the test set in the training data? (CLIP, section 5 and appendix C: 35 sets, median
    overlap 2.2%, mean 3.2%)."""

    sets: list[SetReport]
    median_share: float
    mean_share: float
    images_checked: int
    images_overlapping: int
    images_undecodable: int
    excluded_uids: int
    thresholds: dict[str, float]  # of the config; a set may have its own
    model: str  # the checkpoint that was asked; empty: none
    model_learned_all: bool  # whether it was trained on overlapping images too
    made_from: str  # digest of the shards' matches, the sets, the config and the model's answers

    def lines(self) -> list[str]:
        """What a person reads at the terminal."""
        sets = [(s.name, s.images, s.overlapping, f"{s.share:.1%}", s.pairs, s.by_reason["sha256"]) for s in self.sets]
        answered = [(s.name, s.accuracy) for s in self.sets if s.accuracy is not None]
        asked = [(name, shown(a.all), shown(a.clean), points(a.gain), shown_p(a.p_value)) for name, a in answered]
        columns = ("set", "images", "in the shards", "share", "matched pairs", "same bytes")
        accuracies = [text_table(("set", "zero-shot", "without the overlap", "gain", "p"), asked)] if asked else []
        return [
            f"overlap: median {self.median_share:.1%}, mean {self.mean_share:.1%} over {len(self.sets)} sets",
            text_table(columns, sets),
            *accuracies,
            f"  {self.images_overlapping:,} of {self.images_checked:,} images of the shards are in a set; "
            f"training leaves out their {self.excluded_uids:,} pairs",
        ]

    def to_json(self) -> str:
        """Indented JSON with sorted keys."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2).decode() + "\n"


def shown(share: float | None) -> str:
    """A share as a person reads it: 41.2%, or n/a."""
    return "n/a" if share is None else f"{share:.1%}"


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points, with its sign: +0.6, or n/a."""
    return "n/a" if difference is None else f"{100 * difference:+.1f}".replace("-", "−")


def shown_p(p_value: float | None) -> str:
    """A p-value in three decimals, n/a, or that it is smaller."""
    if p_value is None:
        return "n/a"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def find_report(folder: str, made_from: str) -> OverlapReport | None:
    """The report that stands in the folder, if it is the one made from these inputs."""
    url = storage.join(folder, REPORT)
    if not storage.exists(url):
        return None
    try:
        report = msgspec.json.decode(storage.read_bytes(url), type=OverlapReport)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None  # of another version, or cut short: it is made anew
    return report if report.made_from == made_from else None


def made_from(config: OverlapConfig, sets: list[CheckedSet], pairs: Manifest, answers: Answers = NO_ANSWERS) -> str:
    """32 hex digits that differ where the report would."""
    return digest(VERSION, config, [asdict(entry) for entry in sets], pairs.digest, pairs.counts, answers.identity)


def read_pairs(folder: str, pairs: Manifest) -> pa.Table:
    """All matched pairs (columns OVERLAP but the images), in the shards' order."""
    columns = [name for name in OVERLAP.names if name != "shown"]
    return pa.concat_tables(
        read_table(storage.join(folder, PAIRS, part.file(".parquet").name), columns) for part in pairs.parts
    )


def measure(
    config: OverlapConfig, sets: list[CheckedSet], pairs: Manifest, rows: pa.Table, answers: Answers = NO_ANSWERS
) -> OverlapReport:
    """The report on these matched pairs, and on what they did to a model's answers."""
    reports = [_measure_set(entry, _of_set(rows, entry.name), answers.correct.get(entry.name, {})) for entry in sets]
    shares = [entry.share for entry in reports]
    counts = pairs.counts
    overlapping = sum(counts[f"dropped.overlap_{reason}"] for reason in REASONS)
    return OverlapReport(
        sets=reports,
        median_share=statistics.median(shares),
        mean_share=statistics.fmean(shares),
        images_checked=counts["in"],
        images_overlapping=overlapping,
        images_undecodable=counts["in"] - counts["kept"] - overlapping,
        excluded_uids=len(pc.unique(exclusions(rows)["uid"])),
        thresholds={name: getattr(config, name) for name in THRESHOLDS},
        model=answers.model,
        model_learned_all=answers.learned_all,
        made_from=made_from(config, sets, pairs, answers),
    )


def write_tables(folder: str, report: OverlapReport, rows: pa.Table) -> None:
    """Publishes overlap/<set>.parquet for each set, exclusions.parquet, and report.parquet, a row a set; tables of
    former sets are removed."""
    names = set()
    for entry in report.sets:
        own = _of_set(rows, entry.name).select(SET_COLUMNS)
        own = own.sort_by([("eval_key", "ascending"), ("score", "descending"), ("uid", "ascending")])
        names.add(f"{entry.name}.parquet")
        _write(storage.join(folder, "overlap", f"{entry.name}.parquet"), own)
    for name in set(storage.list_sizes(storage.join(folder, "overlap"))) - names:
        storage.delete(storage.join(folder, "overlap", name))
    _write(storage.join(folder, "exclusions.parquet"), exclusions(rows))
    _write(storage.join(folder, "report.parquet"), set_table(report.sets))


def set_table(sets: list[SetReport]) -> pa.Table:
    """A row a set, for whoever computes with it; a set's accuracies are null where no model was asked."""
    rows = []
    for entry in sets:
        row = {name: value for name, value in asdict(entry).items() if name in SET_NUMBERS}
        row |= {f"pairs_{reason}": number for reason, number in entry.by_reason.items()}
        measured = asdict(entry.accuracy) if entry.accuracy else {}
        row |= {f"accuracy_{name}": measured.get(name) for name in ACCURACIES}
        low, high = measured.get("interval") or (None, None)
        rows.append({**row, "accuracy_overlap_low": low, "accuracy_overlap_high": high})
    columns = SET_NUMBERS | {f"pairs_{reason}": pa.int64() for reason in REASONS}
    columns |= {f"accuracy_{name}": pa.float64() for name in (*ACCURACIES, "overlap_low", "overlap_high")}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))


def exclusions(rows: pa.Table) -> pa.Table:
    """What training leaves out (columns EXCLUSIONS): every pair that shows an overlapping image, once a set, with
    its surest match; sorted by uid."""
    best: dict[tuple[str, str], tuple[float, str, str]] = {}
    columns = (rows[name].to_pylist() for name in ("uid", "uids", "eval_set", "reason", "score"))
    for image, uids, eval_set, reason, score in zip(*columns, strict=True):
        for uid in uids:
            best[uid, eval_set] = max(best.get((uid, eval_set), (0.0, "", "")), (score, reason, image))
    table = [(uid, eval_set, reason, score, image) for (uid, eval_set), (score, reason, image) in sorted(best.items())]
    return pa.table([[row[i] for row in table] for i in range(len(EXCLUSIONS))], schema=EXCLUSIONS)


def _measure_set(entry: CheckedSet, rows: pa.Table, correct: dict[str, bool]) -> SetReport:
    keys = pc.unique(rows["eval_key"]).to_pylist()
    overlapping, reasons = len(keys), rows["reason"].to_pylist()
    return SetReport(
        name=entry.name,
        url=entry.url,
        sha256=entry.sha256,
        images=entry.images,
        undecodable=entry.rows - entry.images,
        overlapping=overlapping,
        share=overlapping / entry.images,
        pairs=len(rows),
        by_reason={reason: reasons.count(reason) for reason in REASONS},
        thresholds=entry.thresholds,
        accuracy=measure_accuracy(correct, keys) if correct else None,
    )


def _of_set(rows: pa.Table, name: str) -> pa.Table:
    return rows.filter(pc.equal(rows["eval_set"], name))


def _write(url: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write_bytes(url, buffer.getvalue())
