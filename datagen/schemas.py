"""The columns of the files between the stages, and the identity of a pair."""

from __future__ import annotations

import hashlib

import pyarrow as pa

MATCHED = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("page_url", pa.string()),
        ("source", pa.string()),
        ("query_ids", pa.list_(pa.int32())),
    ]
)

# What one partition knows of each query: its distinct pairs, and the smallest keys among them.
QUERY_KEYS = pa.schema([("query_id", pa.int32()), ("matches", pa.int64()), ("keys", pa.list_(pa.uint64()))])

# The cap's decision: query q selects the pairs whose key is at most its threshold.
THRESHOLDS = pa.schema(
    [("query_id", pa.int32()), ("matches", pa.int64()), ("selected", pa.int64()), ("threshold", pa.uint64())]
)

CAPTIONS = pa.list_(
    pa.struct(
        [
            ("uid", pa.string()),
            ("caption", pa.string()),
            ("page_url", pa.string()),
            ("query_ids", pa.list_(pa.int32())),
            ("selected_by", pa.list_(pa.int32())),
        ]
    )
)

SELECTED = pa.schema([("url", pa.string()), ("captions", CAPTIONS)])


def pair_uid(url: str, caption: str) -> str:
    """32 hex digits that identify a pair: blake2b-128 of `url \\0 caption`."""
    return hashlib.blake2b(f"{url}\0{caption}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def url_hash(url: str) -> int:
    """64 bits that place an image URL in a partition and, within it, in an order that mixes hosts."""
    return int.from_bytes(hashlib.blake2b(url.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
