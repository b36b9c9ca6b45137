from __future__ import annotations

import json
import random

import numpy as np
import pytest

from datagen.sources.link_kernel import scan_links
from openwit.kernels.buffers import Bytes
from openwit.kernels.compiled import UNSURE

TRAPS = [b'"IMG@/src"', b',{"path":"IMG@/src","url":"evil","alt":"evil"}]}', b'"Base":"/evil/"', b"\\u0041", b'"', b":"]


def body(num_links: int, fill: int = 0) -> bytes:
    links = [{"path": "IMG@/src", "url": f"{n}.jpg", "alt": f"caption {n}"} for n in range(num_links)]
    return json.dumps({"text": "x" * fill, "Links": links}).encode()


def scan(data: Bytes) -> tuple[int, bool, bytes, bytes]:
    """Number of links, whether there may be a base, and the texts that were found."""
    urls, captions = np.zeros(len(data) + 64, np.uint8), np.zeros(len(data) + 64, np.uint8)
    columns = np.zeros((4, len(data) // 8 + 2), np.int64)
    number, holds_base = scan_links(data, 0, urls, captions, columns, 0)
    ends = columns[1:3, max(number, 0)]
    return number, holds_base, urls[: ends[0]].tobytes(), captions[: ends[1]].tobytes()


@pytest.mark.parametrize("trap", TRAPS)
def test_what_lies_behind_and_before_a_record_changes_nothing(trap: bytes) -> None:
    """At every length modulo the blocks in which the kernel looks."""
    for fill in range(0, 600, 7):
        content = body(2, fill)
        alone = scan(np.frombuffer(content, np.uint8))
        assert alone == (2, False, b"0.jpg1.jpg", b"caption 0caption 1")
        around = np.frombuffer(trap * 30 + content + trap * 60, np.uint8)
        assert scan(around[len(trap) * 30 :][: len(content)]) == alone


def test_a_record_that_breaks_off_is_read_to_its_end_and_no_further() -> None:
    draw = random.Random(0)
    whole = body(3, 40)
    for _ in range(300):
        cut = whole[: draw.randrange(1, len(whole))] + draw.choice([b"", b"}", b'"}', b"\\}", b'\\"}'])
        alone = scan(np.frombuffer(cut, np.uint8))
        trap = draw.choice(TRAPS)
        around = np.frombuffer(trap * 30 + cut + trap * 30, np.uint8)
        assert scan(around[len(trap) * 30 :][: len(cut)]) == alone
        assert alone[0] in (UNSURE, *range(4))
