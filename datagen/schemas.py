"""The columns of the files between the stages, and the identity of a pair.

What every source gives: tables of (image URL, caption) pairs as they stand there, of a few megabytes each.
"""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from openwit.kernels.uids import hex_texts
from openwit.shards.notes import UID_BYTES

CANDIDATES = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("caption_from", pa.string()),  # alt, title, or empty for tables
        ("page_url", pa.string()),
        ("source", pa.string()),
    ]
)
MATCHED = CANDIDATES.append(pa.field("query_ids", pa.list_(pa.int32())))

# Matched pairs of a bundle of WAT files, one record batch a partition: what the cap needs of them, and their texts.
_UID = [("uid_high", pa.uint64()), ("uid_low", pa.uint64())]
_QUERY_IDS = ("query_ids", pa.list_(pa.int32()))
SHUFFLED = pa.schema([*_UID, _QUERY_IDS])
TEXTS = pa.schema([("url", pa.string()), ("caption", pa.string()), ("page_url", pa.string())])

# A partition's distinct pairs; their texts are at `row` of the partition's batch of bundle number `bundle`.
DISTINCT = pa.schema([*_UID, ("bundle", pa.int32()), ("row", pa.int32()), _QUERY_IDS])
QUERY_COUNTS = pa.schema([("query_id", pa.int32()), ("matches", pa.int64())])

# The bracket in which the k-th key of a capped query lies, as the upper 32 bits of its first and last possible value.
BRACKETS = pa.schema([("query_id", pa.int32()), ("matches", pa.int64()), ("first", pa.uint32()), ("last", pa.uint32())])

# What one partition knows of each capped query: how many keys lie under its window, and the matches inside it.
INSIDE = pa.list_(pa.struct([("key", pa.uint64()), *_UID]))
BRACKETED = pa.schema([("query_id", pa.int32()), ("below", pa.int64()), ("inside", INSIDE)])

# The cap's decision: query q selects the pairs whose key is at most its threshold; of equal keys, up to this uid.
THRESHOLDS = pa.schema(
    [
        ("query_id", pa.int32()),
        ("matches", pa.int64()),
        ("selected", pa.int64()),
        ("threshold", pa.uint64()),
        *_UID,
    ]
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

# Rows of a crawl that are fetched again: the key of the failed row, and why it had failed.
RETRIED = pa.schema([*SELECTED, ("retry_of", pa.string()), ("retry_reason", pa.string())])


def pair_uids(urls: pa.Array, captions: pa.Array) -> pa.Array:
    """The uids of many pairs: openwit.shards.notes.pair_uid of each."""
    keys = pc.binary_join_element_wise(urls.cast(pa.binary()), captions.cast(pa.binary()), b"\0")
    digests = [hashlib.blake2b(key, digest_size=UID_BYTES).digest() for key in keys.to_numpy(zero_copy_only=False)]
    return hex_texts(b"".join(digests))


NAMES = pa.dictionary(pa.int32(), pa.string())

PAIRS = pa.schema(
    [
        ("url", pa.string()),  # as it stands in the page, maybe relative; may be empty where the caption is
        ("caption", pa.string()),  # as it is read there, with its line breaks; empty where there is none
        ("caption_from", NAMES),  # the attribute that gave it, alt or title; empty for tables
        ("base_url", NAMES),  # what a relative URL is resolved against; empty: nothing
        ("page_url", NAMES),  # empty where the source does not know it
        ("place", pa.int64()),  # in the file: the record's offset, or the row
    ]
)
