"""Matched pairs and WAT files made for a test."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datagen.schemas import MATCHED
from openwit.shards.notes import pair_uid
from openwit.stage import Input, Source, Target

Pair = tuple[str, str, list[int]]  # URL, caption, the queries that it matches


def write_matched(folder: Path, index: int, pairs: Sequence[Pair]) -> Input:
    """A file as the match stage writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        (pair_uid(url, caption), url, caption, "http://page.test/", f"{index:05d}#{place:09d}", query_ids)
        for place, (url, caption, query_ids) in enumerate(pairs)
    ]
    names = ("uid", "url", "caption", "page_url", "source", "query_ids")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=MATCHED)
    path = folder / f"{index:05d}.parquet"
    pq.write_table(table, path, compression="zstd")
    return Input.outside(str(path))


def run_step(process: Any, config: Any, inputs: Any, folder: Path, index: int = 0) -> Any:
    """Counts of one step carried out on one partition, files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return process(config, Source(index=index, inputs=inputs), Target(index, folder))


def wat_record(page: str, links: Sequence[dict[str, str]], base: str | None = None) -> bytes:
    """One metadata record in the layout of Common Crawl's WAT files."""
    head = {"Title": "a page", **({"Base": base} if base else {})}
    envelope = {
        "Container": {"Filename": "CC-MAIN.warc.gz", "Compressed": True, "Offset": "1"},
        "Envelope": {
            "Format": "WARC/1.0",
            "WARC-Header-Metadata": {"WARC-Type": "response", "WARC-Target-URI": page},
            "Payload-Metadata": {
                "Actual-Content-Type": "application/http; msgtype=response",
                "HTTP-Response-Metadata": {
                    "Headers": {"Content-Type": "text/html"},
                    "HTML-Metadata": {"Head": head, "Links": list(links)},
                },
            },
        },
    }
    return raw_record(page, json.dumps(envelope).encode())


def raw_record(page: str, body: bytes) -> bytes:
    """A metadata record with any body, as its own gzip member."""
    header = (
        "WARC/1.0\r\nWARC-Type: metadata\r\n"
        f"WARC-Target-URI: {page}\r\nWARC-Date: 2024-05-31T01:17:49Z\r\n"
        "WARC-Record-ID: <urn:uuid:3d3f4785-c69a-4f8c-968c-d23302c55ef4>\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return gzip.compress(header.encode() + body + b"\r\n\r\n", mtime=0)


def image_link(url: str, alt: str | None = None) -> dict[str, str]:
    """A link of an img element."""
    return {"path": "IMG@/src", "url": url, **({"alt": alt} if alt is not None else {})}
