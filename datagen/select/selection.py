"""The selection: a partition's pairs that a query selects, grouped by image URL: an image is fetched once, with all
its captions."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import CapConfig
from datagen.schemas import CAPTIONS, SELECTED, TEXTS
from datagen.select.cap_kernel import U32, UPPER_BITS, mark_selected
from datagen.select.distinct import Pairs
from openwit.kernels.hashing import U64, url_hashes
from openwit.kernels.uids import uid_texts
from openwit.stage import Counts, Input, Source, Stage, Target
from openwit.storage.slices import map_ordered, read_slice
from openwit.storage.tables import one_chunk, read_table

GROUP_ROWS = 5_000  # of a row group: a shard of the crawl reads those that hold its rows


def process(config: CapConfig, source: Source, target: Target) -> Counts:
    """Writes a partition's selected pairs grouped by image URL (columns SELECTED), in the order of the URL's hash;
    counts pairs, and `rows` image URLs."""
    table = read_table(source.url("distinct"))
    pairs = Pairs.of(table)
    rows, selected_by = selected(config, pairs, *_limits(source.input("thresholds")))
    texts, order = _texts(source.urls("texts"), source.index, table.take(pa.array(rows)))
    rows = rows[order]
    columns = {
        "uid": uid_texts(pairs.high[rows], pairs.low[rows]),
        "query_ids": one_chunk(table["query_ids"]).take(pa.array(rows)),
        "selected_by": selected_by.take(pa.array(order)),
        **{name: one_chunk(texts[name]) for name in TEXTS.names},
    }
    images = group_by_image(columns)
    pq.write_table(images, target.path(".parquet"), compression="zstd", row_group_size=GROUP_ROWS)
    counts = {"in": len(table), "kept": len(rows), "dropped.capped": len(table) - len(rows)}
    return Counter({**counts, "rows": len(images)})


STAGE: Stage[CapConfig] = Stage("select", 2, process)


def selected(
    config: CapConfig, pairs: Pairs, last_upper: U32, last: tuple[U64, U64, U64]
) -> tuple[npt.NDArray[np.int64], pa.ListArray]:
    """The rows of the pairs that at least one query selects, and for each of them the queries that do."""
    chosen, number = np.empty(len(pairs.query_ids), bool), np.empty(len(pairs.high), np.int32)
    mark_selected(np.uint64(config.seed % 2**64), pairs.arrays, last_upper, last, chosen, number)
    rows = np.flatnonzero(number)
    ends = np.concatenate([[0], np.cumsum(number[rows])]).astype(np.int32)
    return rows, pa.ListArray.from_arrays(pa.array(ends), pa.array(pairs.query_ids[chosen]))


@functools.lru_cache(maxsize=1)
def _limits(source: Input) -> tuple[U32, tuple[U64, U64, U64]]:
    """Every query's k-th key by its id: its upper bits, and key and uid."""
    table = read_table(source.url)
    query_ids = table["query_id"].to_numpy()
    last = np.zeros((3, int(query_ids.max(initial=-1)) + 1), np.uint64)
    for row, name in enumerate(("threshold", "uid_high", "uid_low")):
        last[row, query_ids] = table[name].to_numpy()
    return (last[0] >> np.uint64(UPPER_BITS)).astype(np.uint32), (last[0], last[1], last[2])


def _texts(urls: Sequence[str], index: int, places: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The texts of the pairs at these places, bundle by bundle; and the order that this is of `places`."""
    bundle, row = places["bundle"].to_numpy(), places["row"].to_numpy()
    order = np.argsort(bundle, kind="stable")
    numbers, starts = np.unique(bundle[order], return_index=True)
    wanted = list(zip(numbers.tolist(), np.split(row[order], starts[1:]), strict=True)) if len(numbers) else []

    def read(entry: tuple[int, npt.NDArray[np.int32]]) -> pa.Table:
        return pa.Table.from_batches([read_slice(urls[entry[0]], index).take(pa.array(entry[1]))])

    return pa.concat_tables([TEXTS.empty_table(), *map_ordered(read, wanted)]), order


def group_by_image(columns: dict[str, pa.Array]) -> pa.Table:
    """One row an image URL (columns SELECTED), in the order of the URL's hash; its captions in the order of uids."""
    keys = pa.table({"hash": url_hashes(columns["url"]), "url": columns["url"], "uid": columns["uid"]})
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])
    urls = columns["url"].take(order)
    first = np.ones(len(urls), bool)
    if len(urls):
        first[1:] = pc.not_equal(urls[1:], urls[:-1]).to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(first)
    fields = list(CAPTIONS.value_type)
    captions = pa.StructArray.from_arrays([columns[field.name].take(order) for field in fields], fields=fields)
    ends = pa.array(np.append(starts, len(urls)).astype(np.int32))
    return pa.table([urls.take(pa.array(starts)), pa.ListArray.from_arrays(ends, captions)], schema=SELECTED)
