"""The crawl: one selected partition → one WebDataset shard, by img2dataset's downloader, writer and formats.

Every selected URL ends as one row of the shard's parquet file, fetched or with its error. What img2dataset writes in
the order of arrival is written in the order of keys, so equal answers of the web give equal bytes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.config import CrawlConfig
from datagen.crawl.finalize import canonicalise_table, canonicalise_tar, count_rows
from datagen.crawl.img2dataset_seams import CountingWriter, Tally, return_large_blocks, slim_import
from datagen.crawl.policy import FetchPolicy
from datagen.crawl.politeness.client import LimiterClient, LimiterGone
from datagen.crawl.resizer import ImageResizer, Resized
from datagen.schemas import CAPTIONS, RETRIED
from datagen.shards.tombstones import tombstones
from openwit.errors import WorkError
from openwit.shards.tar import PlainTar
from openwit.stage import Counts, Source, Stage, Target
from openwit.storage.tables import read_table

if TYPE_CHECKING:
    from img2dataset.downloader import Downloader
    from img2dataset.writer import WebDatasetSampleWriter

SHARD_DIGITS = 5
COLUMNS = pa.schema([("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()), ("captions", CAPTIONS)])


def process(config: CrawlConfig, source: Source, target: Target) -> Counts:
    """Fetches a partition's image URLs into NNNNN.tar and NNNNN.parquet, with img2dataset's names and columns, and
    NNNNN_stats.json. Counts URLs (see count_rows) and the `bytes` of fetched bodies. The source's "limiter" is where
    slots are asked for, "removed" the folder of requests to leave something out. Raises LimiterGone where the limiter
    ends meanwhile, ConfigError where the open web is asked without a contact."""
    selected = source.input("selected")
    table = read_table(selected.url, rows=selected.span)
    retries = table.select(RETRIED.names) if "retry_of" in table.column_names else None
    for removed in source.inputs.get("removed", ()):
        table = tombstones(removed.url).without_named(table)
    rows = _rows(table)
    if len(rows) > config.shard_rows:
        raise WorkError(f"{selected.url}: {len(rows)} images, a shard holds at most {config.shard_rows}")
    policy = _policy(config, source.url("limiter"))
    policy.require_contact(rows["url"].to_pylist())
    with tempfile.TemporaryDirectory(dir=target.scratch) as folder:
        listing = Path(folder) / "rows.feather"
        with pa.OSFile(str(listing), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        tally = Tally(len(rows), functools.partial(policy.limiter.report, source.index))
        with _quiet() as said:
            _downloader(policy, tally, folder).download_shard((source.index, str(listing)))
        if policy.limiter.problem:
            _policy.cache_clear()  # the next try has a new connection
            raise LimiterGone(f"shard {target.name}: the crawl's rate limiter is gone ({policy.limiter.problem})")
        made = Path(folder) / target.name
        _check_whole(made.with_suffix(".parquet"), len(rows), said.getvalue())
        table = canonicalise_table(made.with_suffix(".parquet"), target.path(".parquet"), retries)
        canonicalise_tar(made.with_suffix(".tar"), target.path(".tar"))
        shutil.move(f"{made}_stats.json", target.note("_stats.json"))
    counts = count_rows(table, retries)
    counts["bytes"] = tally.counts["bytes"]
    return counts


STAGE: Stage[CrawlConfig] = Stage(
    "crawl",
    5,
    process,
    software=("img2dataset", "webdataset", "pillow", "simplejpeg", "opencv-python-headless"),
)


def _rows(selected: pa.Table) -> pa.Table:
    firsts = [captions[0] for captions in selected["captions"].to_pylist()]
    uids, captions = [first["uid"] for first in firsts], [first["caption"] for first in firsts]
    return pa.table([uids, selected["url"], captions, selected["captions"]], schema=COLUMNS)


def _check_whole(table: Path, expected: int, said: str) -> None:
    """img2dataset passes over a row at which it fails by itself; the partition is then tried again."""
    if (found := pq.read_metadata(table).num_rows) != expected:
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{expected} URLs were given, {found} rows came back ({last})")


def _downloader(policy: FetchPolicy, tally: Tally, folder: str) -> Downloader:
    with slim_import("img2dataset", without="torch", forget="webdataset"):
        from img2dataset.downloader import Downloader
        from img2dataset.writer import WebDatasetSampleWriter

    config = policy.config
    urllib.request.install_opener(cast(urllib.request.OpenerDirector, policy))
    return Downloader(
        sample_writer_class=lambda *given: _writer(WebDatasetSampleWriter(*given), tally),
        resizer=_Resizer(policy, tally),
        thread_count=config.threads,
        save_caption=True,
        extract_exif=False,
        output_folder=folder,
        column_list=COLUMNS.names,
        timeout=config.deadline_s,
        number_sample_per_shard=config.shard_rows,
        oom_shard_count=SHARD_DIGITS,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=0,  # the policy tries again, after a pause
        user_agent_token=None,
        disallowed_header_directives=None,  # the policy reads them before the body
    )


def _writer(made: WebDatasetSampleWriter, tally: Tally) -> CountingWriter:
    made.tarwriter = PlainTar(made.tar_fd)  # the same members without times, in a tenth of the time
    return CountingWriter(made, tally)


@functools.cache
def _policy(config: CrawlConfig, limiter_url: str) -> FetchPolicy:
    """One a worker: connections, looked-up names and sites' rules outlast a partition."""
    return_large_blocks()
    return FetchPolicy(config, LimiterClient(limiter_url))


class _Resizer:
    """The resizer, which counts a body's bytes, and lets go of them when it has done with them."""

    def __init__(self, policy: FetchPolicy, tally: Tally) -> None:
        self._bodies, self._resize, self._tally = policy.bodies, ImageResizer(policy.config), tally

    def __call__(self, img_stream: io.BytesIO, blurring_bbox_list: object = None) -> Resized:
        num_bytes = len(img_stream.getbuffer())
        self._tally.add_bytes(num_bytes)
        try:
            return self._resize(img_stream, blurring_bbox_list)
        finally:
            self._bodies.give_back(num_bytes)


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """What img2dataset prints (tracebacks of single samples that it lost), instead of printing it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said
