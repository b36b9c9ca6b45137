from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from openwit.kernels.hashing import url_hashes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def plain_hash(url: str) -> int:
    """The definition, in plain Python."""
    x = 0xCBF29CE484222325
    for byte in url.encode():
        x = ((x ^ byte) * 0x100000001B3) % 2**64
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) % 2**64
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) % 2**64
    return x ^ (x >> 33)


@given(st.lists(TEXT, max_size=20), st.integers(0, 5))
def test_a_hash_is_the_plain_definition_wherever_the_array_begins(urls: list[str], start: int) -> None:
    assert url_hashes(pa.array(urls, pa.string()).slice(start)).tolist() == [plain_hash(url) for url in urls[start:]]
    assert url_hashes(pa.array(urls, pa.large_string())).tolist() == [plain_hash(url) for url in urls]


def test_partitions_do_not_move_from_version_to_version() -> None:
    assert url_hashes(pa.array(["http://a.test/x.jpg"])).tolist() == [9036086717894391168]


def test_images_of_one_host_fall_evenly_into_partitions() -> None:
    found = url_hashes(pa.array([f"http://a.test/{number}.jpg" for number in range(12_000)]))
    for partitions in (7, 1000):
        shares = np.bincount((found % np.uint64(partitions)).astype(int), minlength=partitions) * partitions / 12_000
        assert abs(shares.std() - (partitions / 12_000) ** 0.5) < 0.05
