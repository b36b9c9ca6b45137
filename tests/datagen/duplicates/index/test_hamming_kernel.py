from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.duplicates.index.hamming_kernel import find_near, most_of_views, nearest256, shared_bits


def words(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.integers(0, 2**64, shape, dtype=np.uint64)


def views_of(random: np.random.Generator, images: int, views: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of images whose views differ in some bits, and their reliable bits."""
    hashes = np.repeat(words(random, images, width), views, axis=0)
    flips = words(random, *hashes.shape) & words(random, *hashes.shape) & words(random, *hashes.shape)
    return hashes ^ flips, words(random, *hashes.shape) | words(random, *hashes.shape)


def differing(a: np.ndarray, b: np.ndarray, reliable: np.ndarray) -> np.ndarray:
    return np.bitwise_count((a[:, None] ^ b) & reliable).sum(-1, dtype=np.int64)  # type: ignore[no-any-return]


@given(st.integers(0, 10_000), st.sampled_from([1, 4, 16]), st.integers(0, 1500), st.integers(5, 40))
@settings(max_examples=25, deadline=None)
def test_what_is_near_is_found_as_by_comparing_all_with_all(seed: int, views: int, images: int, most: int) -> None:
    random = np.random.default_rng(seed)
    hash64, reliable64 = views_of(random, images, views, 1)
    hash256, reliable256 = views_of(random, images, views, 4)
    queries = words(random, 9, 1), words(random, 9, 4)
    if images:
        queries[0][0], queries[1][0] = hash64[-1], hash256[-1]
    most64 = random.integers(-1, most, len(hash64)).astype(np.int16)
    most256 = random.integers(-1, 5 * most, len(hash64)).astype(np.int16)
    firsts = (
        hash64[::views, 0].copy(), shared_bits(hash64, reliable64, views)[:, 0].copy(), most_of_views(most64, views),
        hash256[::views].copy(), shared_bits(hash256, reliable256, views), most_of_views(most256, views),
    )  # fmt: skip
    found = np.empty((len(hash64) * 9 + 1, 4), np.int64)
    number, looked = find_near(queries, (hash64, reliable64, hash256, reliable256), (most64, most256), firsts, found)
    short, long = differing(queries[0], hash64, reliable64), differing(queries[1], hash256, reliable256)
    near = (short <= most64) & (long <= most256)
    expected = [(q, v, short[q, v], long[q, v]) for q, v in np.argwhere(near).tolist()]
    assert sorted(map(tuple, found[:number].tolist())) == expected
    assert looked >= len({(q, v // views) for q, v, _, _ in expected})


def test_more_than_fits_is_counted_so_that_the_caller_can_make_room() -> None:
    same = np.zeros((50, 1), np.uint64), np.zeros((50, 4), np.uint64)
    reliable, most = np.full((50, 4), 2**64 - 1, np.uint64), np.full(50, 3, np.int16)
    firsts = (same[0][:, 0], reliable[:, 0].copy(), most.astype(np.int64), same[1], reliable, most.astype(np.int64))
    found = np.full((8, 4), -7, np.int64)
    queries = np.zeros((2, 1), np.uint64), np.zeros((2, 4), np.uint64)
    number, _ = find_near(queries, (same[0], reliable[:, :1].copy(), same[1], reliable), (most, most), firsts, found)
    assert number == 100
    assert (found[:, 0] >= 0).all()


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_nearest_view_is_the_one_of_the_least_share_of_firm_bits(seed: int) -> None:
    random = np.random.default_rng(seed)
    hashes, reliable = views_of(random, 40, 1, 4)
    reliable[3] = 0
    contrast = np.ones(40, np.float32)
    contrast[5] = 0.5
    queries = np.concatenate([words(random, 6, 4), hashes[5:6]])
    distances, nearest = nearest256(queries, hashes, reliable, contrast, 1.0)
    share = differing(queries, hashes, reliable) / np.maximum(np.bitwise_count(reliable).sum(-1, dtype=np.int64), 1)
    share[:, [3, 5]] = 1
    assert np.allclose(distances, share.min(1))
    assert nearest.tolist() == share.argmin(1).tolist()


def test_the_last_view_is_found_at_limit_zero_though_all_its_bits_differ_from_the_first() -> None:
    ones = 2**64 - 1
    hash64, hash256 = (np.array([[0] * width, [ones] * width], np.uint64) for width in (1, 4))
    reliable64, reliable256 = np.full_like(hash64, ones), np.full_like(hash256, ones)
    most = np.zeros(2, np.int16)
    firsts = (
        hash64[::2, 0].copy(), shared_bits(hash64, reliable64, 2)[:, 0].copy(), most_of_views(most, 2),
        hash256[::2].copy(), shared_bits(hash256, reliable256, 2), most_of_views(most, 2),
    )  # fmt: skip
    found = np.empty((4, 4), np.int64)
    queries = hash64[1:].copy(), hash256[1:].copy()
    number, _ = find_near(queries, (hash64, reliable64, hash256, reliable256), (most, most), firsts, found)
    assert found[:number].tolist() == [[0, 1, 0, 0]]
