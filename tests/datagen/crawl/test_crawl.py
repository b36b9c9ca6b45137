from __future__ import annotations

import inspect
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datagen.config import CrawlConfig
from datagen.crawl import crawl
from datagen.schemas import SELECTED, pair_uid
from helpers import web
from helpers.pairs import run_step
from openwit.stage import Input

HOST = "http://pictures.example.test"
PATHS = ["ok/1", "ok/2", "status/404", "html", "truncated", "noai", "drip", "ok/3", "redirect//ok/4", "short"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with web.running() as number:
        yield number


def write_selected(path: Path, urls: list[str]) -> Input:
    """A selected partition; each image has two captions."""
    captions = [
        [
            {
                "uid": pair_uid(url, c),
                "caption": c,
                "page_url": "http://p.test/",
                "query_ids": [1, 2],
                "selected_by": [2],
            }
            for c in ("a naïve cat", "second")
        ]
        for url in urls
    ]
    pq.write_table(pa.table([urls, captions], schema=SELECTED), path)
    return Input.outside(str(path))


def crawl_once(folder: Path, port: int, threads: int = 4) -> dict[str, int]:
    folder.mkdir()
    config = CrawlConfig(connect_to=(f"*.example.test=127.0.0.1:{port}",), deadline_s=1.0, image_px=64, threads=threads)
    selected = write_selected(folder / "selected.parquet", [f"{HOST}/{path}" for path in PATHS])
    return run_step(crawl.process, config, {"selected": (selected,)}, folder / "shards", index=7)


@pytest.fixture(scope="module")
def shard(port: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], Path]:
    folder = tmp_path_factory.mktemp("crawl") / "one"
    return crawl_once(folder, port), folder / "shards"


def test_every_url_ends_in_one_counted_state(shard: tuple[dict[str, int], Path]) -> None:
    counts, _ = shard
    assert dict(counts) == {
        "in": 10,
        "kept": 4,
        "dropped.http_404": 1,
        "dropped.image_undecodable": 1,
        "dropped.image_truncated": 1,
        "dropped.disallowed": 1,
        "dropped.timeout": 1,
        "dropped.incomplete": 1,
    }


def test_the_tables_rows_are_the_selected_urls_in_order_with_img2datasets_columns(
    shard: tuple[dict[str, int], Path],
) -> None:
    table = pq.read_table(shard[1] / "00007.parquet")
    assert table["url"].to_pylist() == [f"{HOST}/{path}" for path in PATHS]
    expected = "uid url caption captions key status error_message width height original_width original_height sha256"
    assert table.column_names == expected.split()
    assert table["key"].to_pylist()[:2] == ["0000700000", "0000700001"]


def test_the_tar_holds_picture_caption_and_metadata_of_each_success(shard: tuple[dict[str, int], Path]) -> None:
    with tarfile.open(shard[1] / "00007.tar") as tar:
        names = tar.getnames()
        content = {name: tar.extractfile(name).read() for name in names}
    assert names == sorted(names)
    assert len(names) == 12
    about = json.loads(content["0000700000.json"])
    assert [caption["caption"] for caption in about["captions"]] == ["a naïve cat", "second"]
    assert about["captions"][0]["selected_by"] == [2]
    assert content["0000700000.txt"].decode() == "a naïve cat"
    assert Image.open(io.BytesIO(content["0000700000.jpg"])).size == (96, 64)


def test_the_stats_file_has_img2datasets_fields_and_is_no_part_of_the_data_set(
    shard: tuple[dict[str, int], Path],
) -> None:
    stats = json.loads((shard[1] / "notes" / "00007_stats.json").read_text())
    assert stats["count"] == 10
    assert stats["successes"] == 4


def test_equal_answers_give_equal_bytes_at_any_number_of_threads(
    shard: tuple[dict[str, int], Path], port: int, tmp_path: Path
) -> None:
    crawl_once(tmp_path / "two", port, threads=1)
    for name in ("00007.tar", "00007.parquet"):
        assert (tmp_path / "two" / "shards" / name).read_bytes() == (shard[1] / name).read_bytes()


def test_a_partition_without_urls_gives_an_empty_shard(tmp_path: Path) -> None:
    selected = write_selected(tmp_path / "selected.parquet", [])
    counts = run_step(crawl.process, CrawlConfig(), {"selected": (selected,)}, tmp_path / "shards")
    assert counts["in"] == counts["kept"] == 0
    assert pq.read_table(tmp_path / "shards" / "00000.parquet").num_rows == 0
    with tarfile.open(tmp_path / "shards" / "00000.tar") as tar:
        assert tar.getnames() == []


def test_other_readers_of_webdataset_read_the_shard(shard: tuple[dict[str, int], Path]) -> None:
    import webdataset

    samples = list(webdataset.WebDataset(str(shard[1] / "00007.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["0000700000", "0000700001", "0000700007", "0000700008"]
    assert {"jpg", "txt", "json"} <= set(samples[0])


def test_img2datasets_seams_stand_where_the_crawl_expects_them() -> None:
    from img2dataset import downloader, writer

    assert list(inspect.signature(downloader.Downloader.__init__).parameters)[1:] == [
        "sample_writer_class", "resizer", "thread_count", "save_caption", "extract_exif", "output_folder",
        "column_list", "timeout", "number_sample_per_shard", "oom_shard_count", "compute_hash", "verify_hash_type",
        "encode_format", "retries", "user_agent_token", "disallowed_header_directives", "blurring_bbox_col",
    ]  # fmt: skip
    assert "urllib.request.urlopen(request, timeout=timeout)" in inspect.getsource(downloader.download_image)
    assert "self.resizer(img_stream, bbox_list)" in inspect.getsource(downloader.Downloader.download_shard)
    assert "tar" in inspect.getsource(writer.WebDatasetSampleWriter)
