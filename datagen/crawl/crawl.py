"""The crawl: one selected partition → one WebDataset shard, by img2dataset's downloader, writer and formats.

Every selected URL ends as one row of the shard's parquet file, fetched or with its error. What img2dataset writes in
the order of arrival is sealed in the order of keys, so equal answers of the web give equal bytes.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tarfile
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datagen.config import CrawlConfig
from datagen.crawl.images import ImageResizer
from datagen.crawl.policy import FetchPolicy
from datagen.crawl.reasons import reason
from datagen.schemas import CAPTIONS
from openwit.errors import WorkError
from openwit.stage import Counts, Source, Stage, Target
from openwit.tables import read_table

if TYPE_CHECKING:
    from img2dataset.downloader import Downloader

MAX_ROWS = 100_000  # rows a shard, which fixes the number of digits of a key
SHARD_DIGITS = 5
DISALLOWED = ["noai", "noimageai", "noindex", "noimageindex"]  # img2dataset's default directives
COLUMNS = pa.schema([("uid", pa.string()), ("url", pa.string()), ("caption", pa.string()), ("captions", CAPTIONS)])


def process(config: CrawlConfig, source: Source, target: Target) -> Counts:
    """Fetches a partition's image URLs into NNNNN.tar and NNNNN.parquet, with img2dataset's names and columns, and
    NNNNN_stats.json. Counts URLs: kept, or dropped with the reason of the failure."""
    rows = _rows(source.url("selected"))
    if len(rows) > MAX_ROWS:
        raise WorkError(
            f"{source.url('selected')}: {len(rows)} images, a shard holds at most {MAX_ROWS}; "
            "set more --candidates.num_partitions"
        )
    with tempfile.TemporaryDirectory(dir=target.scratch) as folder:
        listing = Path(folder) / "rows.feather"
        with pa.OSFile(str(listing), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        with _quiet() as said:
            _downloader(config, folder).download_shard((source.index, str(listing)))
        made = Path(folder) / target.name
        table = _seal_table(made.with_suffix(".parquet"), target.path(".parquet"))
        _seal_tar(made.with_suffix(".tar"), target.path(".tar"))
        shutil.move(f"{made}_stats.json", target.note("_stats.json"))
    if len(table) != len(rows):
        last = (said.getvalue().strip().splitlines() or ["it said nothing"])[-1]
        raise WorkError(f"shard {target.name}: {len(rows)} URLs were given, {len(table)} rows came back ({last})")
    return _count(table)


STAGE: Stage[CrawlConfig] = Stage("crawl", 1, process, software=("img2dataset", "webdataset", "pillow"))


def _rows(selected_url: str) -> pa.Table:
    table = read_table(selected_url)
    firsts = [captions[0] for captions in table["captions"].to_pylist()]
    uids, captions = [first["uid"] for first in firsts], [first["caption"] for first in firsts]
    return pa.table([uids, table["url"], captions, table["captions"]], schema=COLUMNS)


def _downloader(config: CrawlConfig, folder: str) -> Downloader:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else the import asks the internet for a newer version
    from img2dataset.downloader import Downloader
    from img2dataset.writer import WebDatasetSampleWriter

    urllib.request.install_opener(_opener(config))
    return Downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=ImageResizer(config),
        thread_count=config.threads,
        save_caption=True,
        extract_exif=False,
        output_folder=folder,
        column_list=COLUMNS.names,
        timeout=config.deadline_s,
        number_sample_per_shard=MAX_ROWS,
        oom_shard_count=SHARD_DIGITS,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=config.retries,
        user_agent_token=config.user_agent.partition("/")[0],
        disallowed_header_directives=DISALLOWED,
    )


@functools.cache
def _opener(config: CrawlConfig) -> urllib.request.OpenerDirector:
    return FetchPolicy(config).opener()


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """What img2dataset prints (tracebacks of single samples that it lost), instead of printing it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


def _seal_table(made: Path, path: Path) -> pa.Table:
    table = pq.read_table(made).sort_by("key").combine_chunks()
    pq.write_table(table, path, compression="zstd")
    return table


def _seal_tar(made: Path, path: Path) -> None:
    """The same members in the order of their names, without times or owners."""
    with tarfile.open(made) as source, tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as sealed:
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            header = tarfile.TarInfo(member.name)
            header.size, header.mode = member.size, 0o644
            sealed.addfile(header, source.extractfile(member))


def _count(table: pa.Table) -> Counts:
    counts: Counts = Counter({"in": len(table), "kept": pc.sum(pc.equal(table["status"], "success")).as_py() or 0})
    for status, message in zip(table["status"].to_pylist(), table["error_message"].to_pylist(), strict=True):
        if status != "success":
            counts[f"dropped.{reason(message or '')}"] += 1
    return counts
