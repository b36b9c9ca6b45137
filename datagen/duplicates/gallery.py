"""The page of the overlap check: shares a set, and matched pairs side by side for a person to judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen import page
from datagen.duplicates.report import INDEX, PAIRS, Report, SetReport
from openwit import manifest as manifests
from openwit import storage


def write_gallery(folder: str, report: Report, rows: pa.Table, num_pairs: int) -> None:
    """Publishes report.html; of each set it shows `num_pairs` matched pairs, the least certain first."""
    body = [_numbers(report), _shares(report)]
    for entry in report.sets:
        body.append(_pairs(folder, entry, rows, num_pairs))
    body.append(_method(report))
    subtitle = "Pictures of the evaluation sets that are in the shards too"
    storage.write_bytes(
        storage.join(folder, "report.html"), page.page("Overlap with the evaluation sets", subtitle, body)
    )


def _numbers(report: Report) -> str:
    return page.tiles(
        [
            (f"{report.median_share:.1%}", "median share over the sets"),
            (f"{report.mean_share:.1%}", "mean share over the sets"),
            (f"{report.pictures_checked:,}", "pictures checked"),
            (f"{report.pictures_overlapping:,}", "of them in a set"),
            (f"{report.excluded_uids:,}", "pairs left out of training"),
            (f"{report.pictures_undecodable:,}", "could not be decoded"),
        ]
    )


def _shares(report: Report) -> str:
    header = ("set", "pictures", "overlapping", "share", "matched pairs", "same bytes", "undecodable")
    rows = [
        (e.name, e.pictures, e.overlapping, f"{e.share:.1%}", e.pairs, e.by_sha256, e.undecodable) for e in report.sets
    ]
    return "<h2>Sets</h2>" + page.table(header, rows)


def _pairs(folder: str, entry: SetReport, rows: pa.Table, num_pairs: int) -> str:
    own = rows.filter(pc.equal(rows["eval_set"], entry.name))
    order = [("score", "ascending"), ("eval_key", "ascending"), ("key", "ascending")]
    chosen = own.sort_by(order).slice(0, num_pairs).to_pylist()
    title = f"<h2>{page.escape(entry.name)}: matched pairs</h2>"
    if not chosen:
        return f'{title}<p class="soft">None.</p>'
    evals = _eval_pictures(folder, entry.name, {row["eval_key"] for row in chosen})
    shards = _shard_pictures(folder, entry.name, {row["key"] for row in chosen})
    figures = []
    for row in chosen:
        label, left = evals[row["eval_key"]]
        images = [page.image(left, f"evaluation picture {row['eval_key']}"), page.image(shards[row["key"]], row["key"])]
        score = "the same bytes" if row["reason"] == "sha256" else f"score {row['score']:.3f}"
        name = row["eval_key"] if label in ("", row["eval_key"]) else f"{row['eval_key']}, {label}"
        figures.append(page.figure(images, [f"{score} · {name}", row["caption"] or ""]))
    count = f"All {len(own):,}" if len(chosen) == len(own) else f"{len(chosen):,} of {len(own):,}"
    note = f'<p class="soft">{count}, the least certain first. Left: the evaluation picture; right: the shard\'s.</p>'
    return f'{title}{note}<div class="pairs">{"".join(figures)}</div>'


def _eval_pictures(folder: str, name: str, keys: set[str]) -> dict[str, tuple[str, bytes]]:
    """Label and small JPEG by key."""
    table = _read(storage.join(folder, INDEX), name, ["eval_key", "label", "shown"], keys)
    return {key: (label or "", shown) for key, label, shown in _rows(table)}


def _shard_pictures(folder: str, name: str, keys: set[str]) -> dict[str, bytes]:
    table = _read(storage.join(folder, PAIRS), name, ["key", "shown"], keys)
    return dict(_rows(table))


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def _read(folder: str, name: str, columns: list[str], keys: set[str]) -> pa.Table:
    """Rows of a set whose first column is among the keys, from the stage's files."""
    only = [("eval_set", "=", name), (columns[0], "in", sorted(keys))]
    tables = []
    for part in manifests.read(folder).parts:
        with storage.open_input(storage.join(folder, part.file(".parquet").name)) as file:
            tables.append(pq.read_table(file, columns=columns, filters=only))
    return pa.concat_tables(tables)


def _method(report: Report) -> str:
    limits = page.table(("threshold", "value"), [(name, str(value)) for name, value in report.thresholds.items()])
    sets = page.table(("set", "file", "sha256"), [(e.name, e.url, e.sha256) for e in report.sets])
    text = (
        "A picture of the shards is one of a set's where the bytes are the same (sha256), or where both perceptual"
        " hashes and the colours agree with the evaluation picture as a whole or with a strip cut off its sides. The"
        " score is the share of the 256-bit hash's firm bits that agree. Nothing is taken out of the shards; training"
        " leaves out the pairs in exclusions.parquet."
    )
    return f"<h2>Method</h2><p>{text}</p>{limits}<h2>Files</h2>{sets}"
