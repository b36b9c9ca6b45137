"""What every source gives: tables of (image URL, caption) pairs as they stand there, of a few megabytes each."""

from __future__ import annotations

import pyarrow as pa

NAMES = pa.dictionary(pa.int32(), pa.string())

PAIRS = pa.schema(
    [
        ("url", pa.string()),  # as it stands in the page, maybe relative; may be empty where the caption is
        ("caption", pa.string()),  # as it stands there, with entities and line breaks; empty where there is none
        ("caption_from", NAMES),  # the attribute that gave it, alt or title; empty for tables
        ("base_url", NAMES),  # what a relative URL is resolved against; empty: nothing
        ("page_url", NAMES),  # empty where the source does not know it
        ("place", pa.int64()),  # in the file: the record's offset, or the row
    ]
)
