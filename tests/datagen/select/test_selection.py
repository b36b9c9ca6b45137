from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.config import CapConfig
from datagen.schemas import SELECTED
from datagen.select.selection import group_by_image
from helpers.capped import carry
from helpers.pairs import Pair
from openwit.kernels.hashing import url_hashes
from openwit.shards.notes import pair_uid

PAIRS: list[Pair] = [(f"http://h{i % 7}.test/{i // 3}.jpg", f"caption {i}", [i % 5, 9]) for i in range(300)]


def test_an_image_is_one_row_with_all_its_captions_in_the_order_of_uids(tmp_path: Path) -> None:
    rows = carry(tmp_path, [[PAIRS[:200]], [PAIRS[100:]]], CapConfig(max_pairs=10_000), 3)
    assert sorted(row["url"] for row in rows) == sorted({url for url, _, _ in PAIRS})
    expected: dict[str, list[tuple[str, str, list[int]]]] = {}
    for url, caption, query_ids in PAIRS:
        expected.setdefault(url, []).append((pair_uid(url, caption), caption, query_ids))
    for row in rows:
        found = [(entry["uid"], entry["caption"], entry["query_ids"]) for entry in row["captions"]]
        assert found == sorted(expected[row["url"]])
        assert all(entry["selected_by"] == entry["query_ids"] for entry in row["captions"])
        assert all(entry["page_url"] == "http://page.test/" for entry in row["captions"])


def test_a_pair_keeps_all_its_queries_and_says_which_selected_it(tmp_path: Path) -> None:
    rows = carry(tmp_path, [[PAIRS]], CapConfig(max_pairs=20), 2)
    captions = [caption for row in rows for caption in row["captions"]]
    assert all(set(caption["selected_by"]) <= set(caption["query_ids"]) for caption in captions)
    assert all(caption["selected_by"] for caption in captions)
    assert any(set(caption["selected_by"]) < set(caption["query_ids"]) for caption in captions)


def test_rows_stand_in_the_order_of_their_urls_hash(tmp_path: Path) -> None:
    carry(tmp_path, [[PAIRS]], CapConfig(max_pairs=50), 2)
    for path in (tmp_path / "selected").glob("*.parquet"):
        table = pq.read_table(path)
        assert table.schema.equals(SELECTED)
        hashes = url_hashes(table["url"].combine_chunks()).tolist()
        assert hashes == sorted(hashes)
        assert len(hashes) > 10


def test_no_pairs_give_a_table_without_rows() -> None:
    text, ids = pa.array([], pa.string()), pa.array([], pa.list_(pa.int32()))
    columns = dict.fromkeys(("uid", "url", "caption", "page_url"), text)
    assert group_by_image({**columns, "query_ids": ids, "selected_by": ids}).equals(SELECTED.empty_table())
