from __future__ import annotations

import dataclasses
import inspect
import io
import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datagen.config import CrawlConfig
from datagen.crawl import crawl
from datagen.crawl.politeness import limiter
from datagen.crawl.politeness.client import LimiterGone
from datagen.schemas import SELECTED
from helpers import web
from helpers.fetching import crawl_config
from helpers.pairs import run_step
from helpers.patience import patience
from openwit import stage
from openwit.config import free_fields
from openwit.errors import ConfigError
from openwit.executors.executor import Executor, ExecutorConfig, open_executor
from openwit.log.events import InFlight, Log
from openwit.shards.notes import pair_uid
from openwit.stage import Input, Source

HOST = "http://pictures.example.test"
DEADLINE_S = round(patience(0.5), 1)
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
    selected = write_selected(folder / "selected.parquet", [f"{HOST}/{path}" for path in PATHS])
    return crawl_part(
        crawl_config(port, deadline_s=DEADLINE_S, image_px=64, threads=threads), selected, folder / "shards", 7
    )


def crawl_part(config: CrawlConfig, selected: Input, shards: Path, index: int = 0) -> dict[str, int]:
    """Counts of one partition, whose limiter is served meanwhile."""
    with limiter.serving(config) as served:
        inputs = {"selected": (selected,), "limiter": (Input(url=served.url, identity="limiter"),)}
        return run_step(crawl.process, config, inputs, shards, index=index)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def shard(port: int, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], Path]:
    folder = tmp_path_factory.mktemp("crawl") / "one"
    return crawl_once(folder, port), folder / "shards"


def test_every_url_ends_in_one_counted_state(shard: tuple[dict[str, int], Path]) -> None:
    counts, _ = shard
    assert counts.pop("bytes") > 4 * 600
    assert dict(counts) == {
        "in": 10,
        "same_bytes": 0,
        "kept": 4,
        "dropped.http_404": 1,
        "dropped.not_an_image": 1,
        "dropped.image_truncated": 1,
        "dropped.noai": 1,
        "dropped.timeout": 1,
        "dropped.incomplete": 1,
    }


def test_the_tables_rows_are_the_selected_urls_in_order_with_img2datasets_columns(
    shard: tuple[dict[str, int], Path],
) -> None:
    table = pq.read_table(shard[1] / "00007.parquet")
    assert table["url"].to_pylist() == [f"{HOST}/{path}" for path in PATHS]
    expected = "uid url caption captions key status error_message width height original_width original_height sha256"
    assert table.column_names == [*expected.split(), "reason", "duplicate_of", "retry_of"]
    assert table["key"].to_pylist()[:2] == ["000070000", "000070001"]


def test_the_tar_holds_image_caption_and_metadata_of_each_success(shard: tuple[dict[str, int], Path]) -> None:
    with tarfile.open(shard[1] / "00007.tar") as tar:
        names = tar.getnames()
        content = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert names == sorted(names)
    assert len(names) == 12
    about = json.loads(content["000070000.json"])
    assert [caption["caption"] for caption in about["captions"]] == ["a naïve cat", "second"]
    assert about["captions"][0]["selected_by"] == [2]
    assert content["000070000.txt"].decode() == "a naïve cat"
    assert Image.open(io.BytesIO(content["000070000.jpg"])).size == (96, 64)


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
    counts = crawl_part(CrawlConfig(), selected, tmp_path / "shards")
    assert counts["in"] == counts["kept"] == 0
    assert pq.read_table(tmp_path / "shards" / "00000.parquet").num_rows == 0
    with tarfile.open(tmp_path / "shards" / "00000.tar") as tar:
        assert tar.getnames() == []


def test_other_readers_of_webdataset_read_the_shard(shard: tuple[dict[str, int], Path]) -> None:
    import webdataset

    samples = list(webdataset.WebDataset(str(shard[1] / "00007.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["000070000", "000070001", "000070007", "000070008"]
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
    made = inspect.getsource(writer.WebDatasetSampleWriter)
    assert all(f"self.{name}" in made for name in ("tar_fd = ", "tarwriter.write(sample)", "tarwriter.close()"))
    opened = "urlopen"
    assert inspect.getsource(downloader).count(opened) == 1  # there is no second way out


def test_every_row_keeps_the_rule_that_refused_it(shard: tuple[dict[str, int], Path]) -> None:
    messages = pq.read_table(shard[1] / "00007.parquet")["error_message"].to_pylist()
    assert messages == [
        None, None, "http_404: Not Found", "not_an_image: its first bytes are those of no image",
        messages[4], "noai: the header X-Robots-Tag says so", f"timeout: not done within {DEADLINE_S:g} s", None, None,
        "incomplete: the body ends before its declared length",
    ]  # fmt: skip


def test_all_bodies_are_given_back_when_a_partition_is_done(port: int, tmp_path: Path) -> None:
    config = crawl_config(port, max_body_bytes=5000, max_held_bytes=5000, deadline_s=DEADLINE_S)
    selected = write_selected(tmp_path / "selected.parquet", [f"{HOST}/{path}" for path in PATHS])
    with limiter.serving(config) as served:
        inputs = {"selected": (selected,), "limiter": (Input(url=served.url, identity="limiter"),)}
        run_step(crawl.process, config, inputs, tmp_path / "shards")
        assert crawl._policy(config, served.url).bodies._free == 5000


def test_the_open_web_is_not_asked_without_a_contact(tmp_path: Path) -> None:
    selected = write_selected(tmp_path / "selected.parquet", ["http://example.org/x.jpg"])
    with pytest.raises(ConfigError, match=r"crawl.user_agent=openwit/0.1: names no contact; write e.g. --crawl"):
        crawl_part(CrawlConfig(), selected, tmp_path / "shards")


def test_a_partition_whose_limiter_ends_fails_and_a_new_one_serves_the_next_try(tmp_path: Path) -> None:
    selected = write_selected(tmp_path / "selected.parquet", [f"{HOST}/ok/{number}" for number in range(40)])
    with web.running(delay_s=0.05) as port:
        config = crawl_config(port, host_connections=1)
        context = limiter.serving(config)
        served = context.__enter__()
        ending = threading.Timer(0.4, context.__exit__, (None, None, None))
        ending.start()
        inputs = {"selected": (selected,), "limiter": (Input(url=served.url, identity="limiter"),)}
        with pytest.raises(LimiterGone, match="shard 00000: the crawl's rate limiter is gone"):
            run_step(crawl.process, config, inputs, tmp_path / "one")
        ending.join()
        with pytest.raises(LimiterGone, match=f"{served.address} does not answer"):
            run_step(crawl.process, config, inputs, tmp_path / "two")
        assert crawl_part(config, selected, tmp_path / "three")["kept"] == 40


DECISIVE = {
    "max_body_bytes", "robots_txt", "robots_tags", "tdm_reservation", "resize_mode", "image_px",
    "resize_only_if_bigger", "min_image_px", "max_aspect_ratio", "max_image_pixels", "max_decoding_bytes",
    "jpeg_quality", "shard_rows",
}  # fmt: skip


def test_every_setting_either_decides_what_is_kept_or_leaves_shards_as_they_are() -> None:
    """A new setting must be placed: here, or as Free in the config."""
    assert not free_fields(CrawlConfig) & DECISIVE
    assert {field.name for field in dataclasses.fields(CrawlConfig)} == free_fields(CrawlConfig) | DECISIVE


def test_a_shards_key_follows_what_decides_its_content_and_nothing_else() -> None:
    source = Source(index=0, inputs={"selected": (Input(url="a", identity="x"),)})
    key = stage.partition_key(crawl.STAGE, CrawlConfig(), source)
    others = {
        "user_agent": "bot/1 (+https://example.org)", "connect_to": ("a.test=127.0.0.1:1",), "resize_mode": "border",
        "robots_tags": ("noai",), "max_aspect_ratio": 2.0, "limiter_address": "10.0.0.1", "jpeg_quality": 90,
    }  # fmt: skip
    for field in dataclasses.fields(CrawlConfig):
        was = getattr(CrawlConfig(), field.name)
        value = others[field.name] if field.name in others else not was if isinstance(was, bool) else was * 2 or 1
        changed = dataclasses.replace(CrawlConfig(), **{field.name: value})  # type: ignore[arg-type]
        is_same = stage.partition_key(crawl.STAGE, changed, source) == key
        assert is_same == (field.name in free_fields(CrawlConfig)), field.name


def test_a_shard_in_the_making_shows_in_the_progress_of_the_run(tmp_path: Path) -> None:
    selected = write_selected(
        tmp_path / "selected.parquet", [f"{HOST}/{p}/{n}" for n in range(24) for p in ("ok", "status/404")]
    )
    said = io.StringIO()
    log = Log(tmp_path / "log.jsonl", said)
    with web.running(delay_s=0.3) as port:
        config = crawl_config(port, threads=3, host_connections=3)
        with limiter.serving(config) as served, open_executor(ExecutorConfig(workers=1)) as executor:
            slots = Input(url=served.url, identity="limiter")
            parts = [Source(index=0, inputs={"selected": (selected,), "limiter": (slots,)})]
            plan = stage.plan(crawl.STAGE, config, parts, str(tmp_path / "shards"))
            seen: list[InFlight] = []

            def in_flight() -> dict[int, InFlight]:
                seen.extend(served.limiter.in_flight().values())
                return served.limiter.in_flight()

            made = stage.run(plan, executor, log, in_flight=in_flight)
    shares = [entry.steps for entry in seen]
    assert shares == sorted(shares)
    assert any(0 < share < 1 for share in shares)
    for entry in seen:
        stage.check_counts(Counter(entry.counts))
        assert set(entry.counts) <= {"in", "kept", "dropped.http_404", "bytes"}
    assert made.counts["in"] == 48
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-2])
    assert (last["event"], last["rows"], last["kept"]) == ("progress", 48, 24)
    assert "rows_in_flight" not in last


@pytest.mark.slow
def test_a_hosts_limits_hold_over_two_ray_workers_as_the_server_sees_it(ray_here: Executor, tmp_path: Path) -> None:
    rate, at_once, number = 40.0, 3, 50
    with web.serving(delay_s=0.1) as server:
        config = crawl_config(server.server_port, host_requests_per_s=rate, host_connections=at_once, threads=16)
        sources = [write_selected(tmp_path / f"{part}.parquet", [f"{HOST}/ok/{part}{k}" for k in range(number)])
                   for part in (1, 2)]  # fmt: skip
        with limiter.serving(config) as served:
            slots = Input(url=served.url, identity="limiter")
            parts = [Source(index=k, inputs={"selected": (s,), "limiter": (slots,)}) for k, s in enumerate(sources)]
            plan = stage.plan(crawl.STAGE, config, parts, str(tmp_path / "shards"))
            shares: list[float] = []

            def in_flight() -> dict[int, InFlight]:
                told = served.limiter.in_flight()
                shares.extend(entry.steps for entry in told.values())
                return told

            made = stage.run(plan, ray_here, Log(), in_flight=in_flight)
    assert made.counts["kept"] == 2 * number
    assert any(0 < share < 1 for share in shares)  # workers tell from wherever they are
    assert server.most["pictures.example.test"] == at_once
    starts = [time for time, _ in server.starts]
    assert max(starts) - min(starts) >= (len(starts) - 1) / rate - 0.1
