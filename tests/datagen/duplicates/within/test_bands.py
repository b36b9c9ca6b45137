from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.duplicates.within.bands import PIXELS, SHA256, band_keys, digest_keys, kinds, partitions

words = st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4), min_size=1, max_size=5)


@given(words, words, st.integers(1, 20), st.integers(8, 48))
def test_a_key_depends_on_nothing_but_the_firm_bits(
    hashes: list[list[int]], noise: list[list[int]], num_bands: int, band_bits: int
) -> None:
    number = min(len(hashes), len(noise))
    hash256, reliable = np.array(hashes[:number], np.uint64), np.array(noise[:number], np.uint64)
    keys = band_keys(hash256, reliable, num_bands, band_bits)
    assert keys.shape == (number, num_bands)
    np.testing.assert_array_equal(keys, band_keys(hash256 ^ ~reliable, reliable, num_bands, band_bits))
    np.testing.assert_array_equal(kinds(keys), np.tile(np.arange(num_bands), (number, 1)))
    assert (keys & np.uint64((1 << 56) - 1)).max() < 1 << band_bits


def test_hashes_that_differ_in_few_bits_share_a_band_and_others_do_not() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, (200, 4), np.uint64)
    reliable = np.full_like(hashes, ~np.uint64(0))
    flips = np.zeros((200, 256), np.uint8)
    for row in flips:
        row[random.choice(256, 10, replace=False)] = 1
    near = hashes ^ np.packbits(flips, axis=1).view(np.uint64)
    keys, copies = band_keys(hashes, reliable, 16, 24), band_keys(near, reliable, 16, 24)  # type: ignore[arg-type]
    assert (keys == copies).any(axis=1).mean() > 0.97
    assert not (keys == np.roll(copies, 1, axis=0)).any()


def test_keys_are_the_same_everywhere() -> None:
    hashes = np.arange(8, dtype=np.uint64).reshape(2, 4) * np.uint64(0x123456789ABCDEF)
    keys = band_keys(hashes, np.full_like(hashes, ~np.uint64(0)), 3, 24)
    assert [f"{key:x}" for key in keys.ravel().tolist()] == [
        "145328",
        "100000000403a12",
        "200000000004780",
        "5c8dc6",
        "10000000022839a",
        "2000000005ab297",
    ]
    assert partitions(keys.ravel(), 7).tolist() == [4, 3, 2, 4, 3, 6]


@pytest.mark.parametrize("kind", [PIXELS, SHA256])
def test_equal_digests_have_equal_keys_of_their_kind(kind: int) -> None:
    digests = np.random.default_rng(1).integers(0, 256, (3, 32)).astype(np.uint8)
    keys = digest_keys(digests[[0, 1, 2, 0]], kind)
    assert keys[0] == keys[3]
    assert len(set(keys.tolist())) == 3
    assert set(kinds(keys).tolist()) == {kind}
