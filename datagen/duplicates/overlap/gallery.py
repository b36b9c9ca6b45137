"""The page of the overlap check (templates/overlap.html): shares a set, accuracies, and matched pairs for a person to
judge the thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datagen import page
from datagen.duplicates.config import REASONS
from datagen.duplicates.overlap import plots
from datagen.duplicates.overlap.accuracy import Accuracy
from datagen.duplicates.overlap.report import INDEX, PAIRS, OverlapReport, SetReport, points, shown, shown_p
from openwit import manifest as manifests
from openwit import storage
from openwit.storage.tables import read_wanted

NEAR_SHARE = 3  # for so many matched pairs one that just missed the threshold is shown
STAGES = {
    "sha256": "the same bytes",
    "pixels": "the same pixels",
    "phash": "by the hashes",
    "detector": "by the detector",
}


@dataclass(frozen=True)
class Group:
    """Pairs that one stage of the cascade found, or that just missed its threshold."""

    title: str
    pairs: list[Pair]


@dataclass(frozen=True)
class Pair:
    """An image of the set and one of the shards, each with what it shows, and lines of text."""

    images: list[tuple[bytes, str]]
    caption: list[str]


@dataclass(frozen=True)
class ShownSet:
    """One set's `pairs` matched pairs, of which `shown` stand in the groups."""

    name: str
    pairs: int
    shown: int
    groups: list[Group]


def write_gallery(
    folder: str, report: OverlapReport, rows: pa.Table, num_pairs: int, seconds: Mapping[str, float] | None = None
) -> None:
    """Publishes report.html; of each set it shows `num_pairs` matched pairs, the least certain first, after those
    that just missed the threshold. `seconds`: where the time of the shards' scan went, over all workers."""
    asked = [(entry, entry.accuracy) for entry in report.sets if entry.accuracy is not None]
    values = {
        "title": "Overlap with the evaluation sets",
        "subtitle": "Images of the evaluation sets that are in the shards too",
        "footer": "",
        "report": report,
        "numbers": _numbers(report),
        "shares": [_share_row(entry) for entry in report.sets],
        "accuracies": [_accuracy_row(entry.name, accuracy) for entry, accuracy in asked],
        "drawings": plots.overlap_and_accuracy([(entry.name, entry.share, accuracy) for entry, accuracy in asked]),
        "sets": [_shown_set(folder, entry, rows, num_pairs) for entry in report.sets],
        "thresholds": [(name, str(value)) for name, value in report.thresholds.items()],
        "files": [(entry.name, entry.url, entry.sha256) for entry in report.sets],
        "seconds": _seconds(seconds or {}),
    }
    storage.write_bytes(storage.join(folder, "report.html"), page.render("overlap.html", values))


def _numbers(report: OverlapReport) -> list[tuple[str, str]]:
    """The main numbers, and what each is."""
    return [
        (f"{report.median_share:.1%}", "median share over the sets"),
        (f"{report.mean_share:.1%}", "mean share over the sets"),
        (f"{report.images_checked:,}", "images checked"),
        (f"{report.images_overlapping:,}", "of them in a set"),
        (f"{report.excluded_uids:,}", "pairs left out of training"),
        (f"{report.images_undecodable:,}", "could not be decoded"),
    ]


def _share_row(entry: SetReport) -> tuple[object, ...]:
    numbers = (entry.images, entry.undecodable, entry.overlapping, f"{entry.share:.1%}", entry.pairs)
    return (entry.name, *numbers, *(entry.by_reason[reason] for reason in REASONS))


def _accuracy_row(name: str, a: Accuracy) -> tuple[str, ...]:
    interval = f"{a.interval[0]:.1%} to {a.interval[1]:.1%}" if a.interval else "n/a"
    return (name, shown(a.all), shown(a.overlap), interval, shown(a.clean), points(a.gain), shown_p(a.p_value))


def _shown_set(folder: str, entry: SetReport, rows: pa.Table, num_pairs: int) -> ShownSet:
    """A set's pairs: of each stage, the least sure stage first, those below its threshold and those above."""
    own = rows.filter(pc.equal(rows["eval_set"], entry.name)).drop_columns(["uids"])
    near = _near(folder, entry.name, num_pairs // NEAR_SHARE)
    chosen = _least_certain(own, num_pairs)
    if not chosen and not near:
        return ShownSet(entry.name, 0, 0, [])
    evals = _eval_images(folder, entry.name, {row["eval_key"] for row in chosen + near})
    shards = _shard_images(folder, entry.name, {row["key"] for row in chosen}, ".parquet")
    missed = _shard_images(folder, entry.name, {row["key"] for row in near}, "_near.parquet")
    groups = []
    for reason in reversed(REASONS):
        below = [_pair(row, evals, missed) for row in near if row["reason"] == reason]
        above = [_pair(row, evals, shards) for row in chosen if row["reason"] == reason]
        if below:
            groups.append(Group(f"Not counted, {STAGES[reason]}", below))
        if above:
            groups.append(Group(_threshold(entry, reason), above))
    return ShownSet(entry.name, len(own), len(chosen), groups)


def _threshold(entry: SetReport, reason: str) -> str:
    """The line between what is not counted, above it on the page, and what is."""
    limits = entry.thresholds
    if reason == "detector":
        return f"Counted {STAGES[reason]}: score of at least {limits['min_score']:.3f}"
    if reason == "phash":
        return f"Counted {STAGES[reason]}: score of at least {1 - limits['max_distance256']:.3f}, and the colours agree"
    return f"Counted: {STAGES[reason]}"


def _pair(row: dict[str, Any], evals: Mapping[str, tuple[str, bytes]], shards: Mapping[str, bytes]) -> Pair:
    label, left = evals[row["eval_key"]]
    images = [(left, f"evaluation image {row['eval_key']}"), (shards[row["key"]], row["key"])]
    name = row["eval_key"] if label in ("", row["eval_key"]) else f"{row['eval_key']}, {label}"
    score = STAGES[row["reason"]] if row["reason"] in ("sha256", "pixels") else f"score {row['score']:.3f}"
    if row["reason"] == "phash" and row["color_distance"] is not None:
        score += f", colours {row['color_distance']:.0f} apart"
    return Pair(images, [f"{score} · {name}", row["caption"] or ""])


def _least_certain(own: pa.Table, number: int) -> list[dict[str, Any]]:
    """Rows by falling doubt: the least sure stage, then the lowest score."""
    places = pa.array([-REASONS.index(reason) for reason in own["reason"].to_pylist()], pa.int32())
    order = [("place", "ascending"), ("score", "ascending"), ("eval_key", "ascending"), ("key", "ascending")]
    return list(own.append_column("place", places).sort_by(order).slice(0, number).to_pylist())


def _near(folder: str, name: str, number: int) -> list[dict[str, Any]]:
    """The pairs that came nearest to the threshold without reaching it, the nearest last."""
    columns = ["eval_set", "eval_key", "key", "reason", "score", "color_distance", "caption"]
    table = _read(storage.join(folder, PAIRS), "_near.parquet", columns, pc.field("eval_set") == name)
    if table is None:
        return []
    order = [("score", "descending"), ("eval_key", "ascending"), ("key", "ascending")]
    return list(reversed(table.sort_by(order).slice(0, number).to_pylist()))


def _eval_images(folder: str, name: str, keys: set[str]) -> dict[str, tuple[str, bytes]]:
    """Label and small JPEG by key."""
    wanted = pc.field("eval_key").isin(pa.array(sorted(keys), pa.string()))
    table = _read(storage.join(folder, INDEX, name), ".parquet", ["eval_key", "label", "shown"], wanted)
    return {key: (label or "", shown) for key, label, shown in _rows(table)}


def _shard_images(folder: str, name: str, keys: set[str], suffix: str) -> dict[str, bytes]:
    wanted = (pc.field("eval_set") == name) & pc.field("key").isin(pa.array(sorted(keys), pa.string()))
    return dict(_rows(_read(storage.join(folder, PAIRS), suffix, ["key", "shown"], wanted)))


def _rows(table: pa.Table | None) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True) if table else iter(())


def _read(folder: str, suffix: str, columns: list[str], wanted: pc.Expression) -> pa.Table | None:
    """The wanted rows of the stage's files NNNNN<suffix>; None where no partition has such a file."""
    tables = []
    for part in manifests.read(folder).parts:
        for entry in part.files:
            if entry.name == f"{part.index:05d}{suffix}":
                tables.append(read_wanted(storage.join(folder, entry.name), columns, wanted))
    return pa.concat_tables(tables) if tables else None


def _seconds(seconds: Mapping[str, float]) -> list[tuple[str, str, str]]:
    whole = sum(seconds.values()) or 1.0
    return [(name, f"{value:,.1f}", f"{value / whole:.0%}") for name, value in seconds.items()]
