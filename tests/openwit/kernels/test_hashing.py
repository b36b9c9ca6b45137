from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.plain_keys import mix as plain_mix
from openwit.kernels.hashing import FNV_BASIS, fnv1a, mix, mixed, splitmix64, url_hashes

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


def test_the_generator_gives_the_numbers_of_its_reference_for_each_seed() -> None:
    first, other = splitmix64(np.array([1234567, 0], np.uint64), 5).tolist()
    assert first == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert other[0] == mix(np.uint64(0x9E3779B97F4A7C15)) == 16294208416658607535


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=10))
def test_numbers_are_mixed_as_the_finaliser_is_defined(numbers: list[int]) -> None:
    assert mixed(np.array(numbers, np.int64)).tolist() == [plain_mix(number % 2**64) for number in numbers]


@pytest.mark.parametrize(
    ("text", "value"), [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)]
)
def test_fnv1a_has_the_values_of_its_authors(text: bytes, value: int) -> None:
    key = FNV_BASIS
    for byte in text:
        key = np.uint64(fnv1a(key, np.uint8(byte)))
    assert key == value
