"""What the overlap check found, in numbers and tables: per set its share, its pairs, and what training leaves out."""

from __future__ import annotations

import io
import statistics
from dataclasses import asdict, dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.duplicates.config import OverlapConfig
from datagen.duplicates.overlap import OVERLAP
from openwit import storage
from openwit.config import digest
from openwit.manifest import Manifest
from openwit.tables import read_table

VERSION = 1  # of the report's files
REPORT = "report.json"
PAIRS, INDEX = "pairs", "index"  # the folders of the stages
THRESHOLDS = ("max_distance64", "max_distance256", "max_color_distance", "min_contrast", "crop")
EXCLUSIONS = pa.schema(
    [("uid", pa.string()), ("eval_set", pa.string()), ("reason", pa.string()), ("score", pa.float64())]
)
SET_COLUMNS = ["uid", "eval_key", "score", "reason", "key", "url", "caption"]


@dataclass(frozen=True)
class EvalSet:
    """One evaluation set as it was indexed."""

    name: str
    url: str
    sha256: str  # of the file; of one over 256 MB its size and mark of change
    pictures: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """What of one evaluation set the shards hold."""

    name: str
    url: str
    sha256: str
    pictures: int  # that could be indexed
    undecodable: int
    overlapping: int  # pictures of the set that are in the shards
    share: float  # overlapping / pictures
    pairs: int  # (picture of the shards, picture of the set)
    by_sha256: int  # pairs


@dataclass(frozen=True, kw_only=True)
class Report:
    """The answer to: was the test set in the training data? (CLIP, section 5 and appendix C: 35 sets, median
    overlap 2.2%, mean 3.2%)."""

    sets: list[SetReport]
    median_share: float
    mean_share: float
    pictures_checked: int
    pictures_overlapping: int
    pictures_undecodable: int
    excluded_uids: int
    thresholds: dict[str, float]
    made_from: str  # digest of the shards' matches, the sets and the config

    def lines(self) -> list[str]:
        """What a person reads at the terminal."""
        sets = [
            f"  {entry.name}: {entry.overlapping:,} of {entry.pictures:,} pictures are in the shards "
            f"({entry.share:.1%}; {entry.by_sha256:,} of {entry.pairs:,} matched pairs are the same bytes)"
            for entry in self.sets
        ]
        return [
            f"overlap: median {self.median_share:.1%}, mean {self.mean_share:.1%} over {len(self.sets)} sets",
            *sets,
            f"  {self.pictures_overlapping:,} of {self.pictures_checked:,} pictures of the shards are in a set; "
            f"training leaves out their {self.excluded_uids:,} pairs",
        ]

    def to_json(self) -> str:
        """Indented JSON with sorted keys."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2).decode() + "\n"


def find_report(folder: str, made_from: str) -> Report | None:
    """The report that stands in the folder, if it is the one made from these inputs."""
    url = storage.join(folder, REPORT)
    if not storage.exists(url):
        return None
    try:
        report = msgspec.json.decode(storage.read_bytes(url), type=Report)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None  # of another version, or cut short: it is made anew
    return report if report.made_from == made_from else None


def made_from(config: OverlapConfig, sets: list[EvalSet], pairs: Manifest) -> str:
    """32 hex digits that differ where the report would."""
    return digest(VERSION, config, [asdict(entry) for entry in sets], pairs.digest, pairs.counts)


def read_pairs(folder: str, pairs: Manifest) -> pa.Table:
    """All matched pairs (columns OVERLAP but the pictures), in the shards' order."""
    columns = [name for name in OVERLAP.names if name != "shown"]
    return pa.concat_tables(
        read_table(storage.join(folder, PAIRS, part.file(".parquet").name), columns) for part in pairs.parts
    )


def measure(config: OverlapConfig, sets: list[EvalSet], pairs: Manifest, rows: pa.Table) -> Report:
    """The report on these matched pairs."""
    reports = [_measure_set(entry, _of_set(rows, entry.name)) for entry in sets]
    shares = [entry.share for entry in reports]
    counts = pairs.counts
    return Report(
        sets=reports,
        median_share=statistics.median(shares),
        mean_share=statistics.fmean(shares),
        pictures_checked=counts["in"],
        pictures_overlapping=counts["dropped.overlap_sha256"] + counts["dropped.overlap_phash"],
        pictures_undecodable=counts["dropped.undecodable"],
        excluded_uids=len(pc.unique(exclusions(rows)["uid"])),
        thresholds={name: getattr(config, name) for name in THRESHOLDS},
        made_from=made_from(config, sets, pairs),
    )


def write_tables(folder: str, report: Report, rows: pa.Table) -> None:
    """Publishes overlap/<set>.parquet for each set and exclusions.parquet; tables of former sets are removed."""
    names = set()
    for entry in report.sets:
        own = _of_set(rows, entry.name).select(SET_COLUMNS)
        own = own.sort_by([("eval_key", "ascending"), ("score", "descending"), ("uid", "ascending")])
        names.add(f"{entry.name}.parquet")
        _write(storage.join(folder, "overlap", f"{entry.name}.parquet"), own)
    for name in set(storage.list_sizes(storage.join(folder, "overlap"))) - names:
        storage.delete(storage.join(folder, "overlap", name))
    _write(storage.join(folder, "exclusions.parquet"), exclusions(rows))


def exclusions(rows: pa.Table) -> pa.Table:
    """What training leaves out (columns EXCLUSIONS): every pair that shows an overlapping picture, once a set, with
    its surest match; sorted by uid."""
    best: dict[tuple[str, str], tuple[float, str]] = {}
    for uids, eval_set, reason, score in zip(
        *(rows[name].to_pylist() for name in ("uids", "eval_set", "reason", "score")), strict=True
    ):
        for uid in uids:
            best[uid, eval_set] = max(best.get((uid, eval_set), (0.0, "")), (score, reason))
    table = [(uid, eval_set, reason, score) for (uid, eval_set), (score, reason) in sorted(best.items())]
    return pa.table([[row[i] for row in table] for i in range(len(EXCLUSIONS))], schema=EXCLUSIONS)


def _measure_set(entry: EvalSet, rows: pa.Table) -> SetReport:
    overlapping = len(pc.unique(rows["eval_key"]))
    return SetReport(
        name=entry.name,
        url=entry.url,
        sha256=entry.sha256,
        pictures=entry.pictures,
        undecodable=entry.rows - entry.pictures,
        overlapping=overlapping,
        share=overlapping / entry.pictures,
        pairs=len(rows),
        by_sha256=rows["reason"].to_pylist().count("sha256"),
    )


def _of_set(rows: pa.Table, name: str) -> pa.Table:
    return rows.filter(pc.equal(rows["eval_set"], name))


def _write(url: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    storage.write_bytes(url, buffer.getvalue())
