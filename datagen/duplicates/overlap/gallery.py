"""The page of the overlap check: shares a set, accuracies, and matched pairs for a person to judge the thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen import page
from datagen.duplicates.config import REASONS
from datagen.duplicates.overlap import plots
from datagen.duplicates.overlap.report import INDEX, PAIRS, OverlapReport, SetReport, points, shown, shown_p
from openwit import manifest as manifests
from openwit import storage

NEAR_SHARE = 3  # for so many matched pairs one that just missed the threshold is shown
STAGES = {
    "sha256": "the same bytes",
    "pixels": "the same pixels",
    "phash": "by the hashes",
    "detector": "by the detector",
}


def write_gallery(
    folder: str, report: OverlapReport, rows: pa.Table, num_pairs: int, seconds: Mapping[str, float] | None = None
) -> None:
    """Publishes report.html; of each set it shows `num_pairs` matched pairs, the least certain first, after those
    that just missed the threshold."""
    body = [_numbers(report), _shares(report), _accuracies(report)]
    for entry in report.sets:
        body.append(_pairs(folder, entry, rows, num_pairs))
    body.append(_method(report))
    if seconds:
        body.append(_seconds(seconds))
    subtitle = "Images of the evaluation sets that are in the shards too"
    storage.write_bytes(
        storage.join(folder, "report.html"), page.page("Overlap with the evaluation sets", subtitle, body)
    )


def _numbers(report: OverlapReport) -> str:
    return page.tiles(
        [
            (f"{report.median_share:.1%}", "median share over the sets"),
            (f"{report.mean_share:.1%}", "mean share over the sets"),
            (f"{report.images_checked:,}", "images checked"),
            (f"{report.images_overlapping:,}", "of them in a set"),
            (f"{report.excluded_uids:,}", "pairs left out of training"),
            (f"{report.images_undecodable:,}", "could not be decoded"),
        ]
    )


def _shares(report: OverlapReport) -> str:
    by = ("bytes", "pixels", "hashes", "detector")
    header = ("set", "images", "undecodable", "overlapping", "share", "matched pairs", *by)
    rows = []
    for entry in report.sets:
        numbers = (entry.images, entry.undecodable, entry.overlapping, f"{entry.share:.1%}", entry.pairs)
        rows.append((entry.name, *numbers, *(entry.by_reason[reason] for reason in REASONS)))
    return "<h2>Sets</h2>" + page.table(header, rows)


def _accuracies(report: OverlapReport) -> str:
    if not report.model:
        return ""
    asked = [(entry, entry.accuracy) for entry in report.sets if entry.accuracy is not None]
    header = ("set", "all", "overlap", "99.5% interval", "clean", "all − clean", "p")
    rows = []
    for entry, a in asked:
        interval = f"{a.interval[0]:.1%} to {a.interval[1]:.1%}" if a.interval else "n/a"
        rows.append(
            (entry.name, shown(a.all), shown(a.overlap), interval, shown(a.clean), points(a.gain), shown_p(a.p_value))
        )
    note = (
        f"Zero-shot accuracy of {report.model}. p: the probability of at least so many right answers on the overlap,"
        " were its accuracy that on the clean images."
    )
    if not report.model_learned_all:
        note += " This model was trained without the overlap known then, so that this cannot have helped."
    drawing = plots.overlap_and_accuracy([(entry.name, entry.share, accuracy) for entry, accuracy in asked])
    return f"<h2>What it did to the accuracy</h2><p>{page.escape(note)}</p>{page.table(header, rows)}<br>{drawing}"


def _pairs(folder: str, entry: SetReport, rows: pa.Table, num_pairs: int) -> str:
    """A set's pairs: of each stage, the least sure stage first, those below its threshold and those above."""
    own = rows.filter(pc.equal(rows["eval_set"], entry.name)).drop_columns(["uids"])
    title = f"<h2>{page.escape(entry.name)}: matched pairs</h2>"
    near = _near(folder, entry.name, num_pairs // NEAR_SHARE)
    chosen = _least_certain(own, num_pairs)
    if not chosen and not near:
        return f'{title}<p class="soft">None.</p>'
    evals = _eval_images(folder, entry.name, {row["eval_key"] for row in chosen + near})
    shards = _shard_images(folder, entry.name, {row["key"] for row in chosen}, ".parquet")
    missed = _shard_images(folder, entry.name, {row["key"] for row in near}, "_near.parquet")
    count = f"All {len(own):,}" if len(chosen) == len(own) else f"{len(chosen):,} of {len(own):,}"
    body = [
        title,
        f'<p class="soft">{count}, the least certain first. Left: the evaluation image; right: the shard\'s.</p>',
    ]
    for reason in reversed(REASONS):
        below = [_figure(row, evals, missed) for row in near if row["reason"] == reason]
        above = [_figure(row, evals, shards) for row in chosen if row["reason"] == reason]
        if below:
            body += [f"<h3>Not counted, {STAGES[reason]}</h3>", f'<div class="pairs">{"".join(below)}</div>']
        if above:
            body += [f"<h3>{_threshold(entry, reason)}</h3>", f'<div class="pairs">{"".join(above)}</div>']
    return "".join(body)


def _threshold(entry: SetReport, reason: str) -> str:
    """The line between what is not counted, above it on the page, and what is."""
    limits = entry.thresholds
    if reason == "detector":
        return f"Counted {STAGES[reason]}: score of at least {limits['min_score']:.3f}"
    if reason == "phash":
        return f"Counted {STAGES[reason]}: score of at least {1 - limits['max_distance256']:.3f}, and the colours agree"
    return f"Counted: {STAGES[reason]}"


def _figure(row: dict[str, Any], evals: Mapping[str, tuple[str, bytes]], shards: Mapping[str, bytes]) -> str:
    label, left = evals[row["eval_key"]]
    images = [page.image(left, f"evaluation image {row['eval_key']}"), page.image(shards[row["key"]], row["key"])]
    name = row["eval_key"] if label in ("", row["eval_key"]) else f"{row['eval_key']}, {label}"
    score = STAGES[row["reason"]] if row["reason"] in ("sha256", "pixels") else f"score {row['score']:.3f}"
    if row["reason"] == "phash" and row["color_distance"] is not None:
        score += f", colours {row['color_distance']:.0f} apart"
    return page.figure(images, [f"{score} · {name}", row["caption"] or ""])


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
                with storage.open_input(storage.join(folder, entry.name)) as file:
                    tables.append(pq.read_table(file, columns=columns, filters=wanted))
    return pa.concat_tables(tables) if tables else None


def _method(report: OverlapReport) -> str:
    limits = page.table(("threshold", "value"), [(name, str(value)) for name, value in report.thresholds.items()])
    sets = page.table(("set", "where", "sha256"), [(e.name, e.url, e.sha256) for e in report.sets])
    text = (
        "An image of the shards is one of a set's where the bytes are the same (sha256), where the decoded pixels are,"
        " where both perceptual hashes and the colours agree with the evaluation image as a whole or with a strip cut"
        " off its sides, or where the detector's descriptors are close. The score of the hashes is the share of the"
        " 256-bit hash's firm bits that agree, that of the detector the cosine. Nothing is taken out of the shards;"
        " training leaves out the pairs in exclusions.parquet."
    )
    return f"<h2>Method</h2><p>{text}</p>{limits}<h2>Files</h2>{sets}"


def _seconds(seconds: Mapping[str, float]) -> str:
    """Where the time of the shards' scan went, over all workers."""
    whole = sum(seconds.values()) or 1.0
    rows = [(name, f"{value:,.1f}", f"{value / whole:.0%}") for name, value in seconds.items()]
    return "<h2>Time</h2>" + page.table(("step", "seconds of a worker", "share"), rows)
