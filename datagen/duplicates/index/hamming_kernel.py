"""The look-up of hashes, compiled: which images differ from a query in few bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba.extending import intrinsic

from openwit.kernels.compiled import compiled

BLOCK_IMAGES = 1024  # whose first hashes stay in the processor's cache while all queries pass

U64 = npt.NDArray[np.uint64]
I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]


def _count_ones(_: Any, word: Any) -> Any:
    """The number of ones in a word: the processor's own instruction."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), generate


_bits: Any = intrinsic(_count_ones)


@compiled
def shared_bits(words: U64, reliable: U64, views: int) -> U64:
    """(images, W) of views' hashes (images * views, W): the bits that are reliable and alike in all views of an image.
    What differs in these differs in every view, so that one look at them rules out most other images."""
    shared = reliable[::views].copy()
    for image in range(len(shared)):
        for view in range(image * views + 1, (image + 1) * views):
            for word in range(words.shape[1]):
                shared[image, word] &= reliable[view, word] & ~(words[view, word] ^ words[image * views, word])
    return shared


@compiled
def most_of_views(most: I16, views: int) -> I64:
    """(images,): the most that may differ in any view of an image."""
    best = np.empty(len(most) // views, np.int64)
    for image in range(len(best)):
        best[image] = most[image * views : (image + 1) * views].max()
    return best


@compiled
def find_near(
    queries: tuple[U64, U64], words: tuple[U64, U64, U64, U64], most: tuple[I16, I16],
    firsts: tuple[U64, U64, I64, U64, U64, I64], found: I64,
) -> tuple[int, int]:  # fmt: skip
    """How many pairs of query and view are near by both hashes, and how many pairs of query and image passed the
    first look at 64 bits; `found` (capacity, 4) takes (query, view, differing bits of 64, of 256) of as many as fit.

    queries: hashes of 64 bits (N, 1) and of 256 (N, 4). words: hash64, reliable64 (views, 1), hash256, reliable256
    (views, 4).
    most: bits that may differ in each view, of 64 and of 256; below 0 where nothing may match. firsts: of each image,
    for 64 bits (N,) and 256 (N, 4), the first view's hash, the shared bits, and the most that may differ in any view.
    """
    short, long = queries
    hash64, reliable64, hash256, reliable256 = words
    most64, most256 = most
    first64, shared64, best64, first256, shared256, best256 = firsts
    views = len(hash64) // max(1, len(first64))
    number = looked = 0
    room = np.empty(BLOCK_IMAGES, np.int64)
    for start in range(0, len(first64), BLOCK_IMAGES):
        end = start + BLOCK_IMAGES
        block64, bits64, limit64 = first64[start:end], shared64[start:end], best64[start:end]
        for query in range(len(short)):
            _room_left(short[query, 0], block64, bits64, limit64, room)
            for image in range(start, start + len(block64)):
                if room[image - start] < 0:
                    continue
                looked += 1
                if _differing(long, query, first256, image, shared256, image) > best256[image]:
                    continue
                for view in range(image * views, (image + 1) * views):
                    of64 = _differing(short, query, hash64, view, reliable64, view)
                    of256 = _differing(long, query, hash256, view, reliable256, view)
                    if of64 <= most64[view] and of256 <= most256[view]:
                        if number < len(found):
                            found[number, 0], found[number, 1] = query, view
                            found[number, 2], found[number, 3] = of64, of256
                        number += 1
    return number, looked


@compiled
def _room_left(query: np.uint64, first: U64, shared: U64, most: I64, room: I64) -> None:
    """How many more bits could differ, below 0 where too many do; without a branch, so that the compiler makes vectors
    of it."""
    for place in range(len(first)):
        room[place] = most[place] - np.int64(_bits((query ^ first[place]) & shared[place]))


@compiled
def _differing(a: U64, at_a: int, b: U64, at_b: int, reliable: U64, at: int) -> np.int64:
    """The number of reliable bits in which a row of one differs from a row of the other."""
    number = np.int64(0)
    for word in range(a.shape[1]):
        number += np.int64(_bits((a[at_a, word] ^ b[at_b, word]) & reliable[at, word]))
    return number


@compiled
def nearest256(long: U64, hash256: U64, reliable256: U64, contrast: F32, least_contrast: float) -> tuple[F32, I64]:
    """Of each query the least distance by the 256-bit hash, as a share of reliable bits, to any view whose contrast is
    high enough, and that view; 1 and -1 where there is none."""
    distances = np.ones(len(long), np.float32)
    nearest = np.full(len(long), -1, np.int64)
    for view in range(len(hash256)):
        reliable = np.int64(0)
        for word in range(4):
            reliable += np.int64(_bits(reliable256[view, word]))
        if contrast[view] < least_contrast or reliable == 0:
            continue
        for query in range(len(long)):
            distance = np.float32(_differing(long, query, hash256, view, reliable256, view) / reliable)
            if distance < distances[query]:
                distances[query], nearest[query] = distance, view
    return distances, nearest
