from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wit_queries.matching import slots
from wit_queries.matching.matcher import match_tokens, sort_each  # type: ignore[attr-defined]
from wit_queries.matching.slots import LONG, LOW_56, MULTIPLIER, NO_TOKEN, SHORT_BYTES
from wit_queries.matching.table import build


def buffers(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)], dtype=np.int64)


def keys(text: bytes) -> list[int]:
    data, _ = buffers([text])
    room = tuple(np.empty(len(text) + 2, np.int64) for _ in range(3))
    count = slots.cut(data, 0, len(text), np.zeros(2, np.int64), room, 0)  # type: ignore[arg-type]
    assert [text[a:b] for a, b in zip(room[1], room[2], strict=True)][: count - 1] == text.split(b" ")
    return room[0][:count].tolist()  # type: ignore[no-any-return]


def matches(queries: list[bytes], texts: list[bytes]) -> list[list[int]]:
    table = build(*buffers(queries), np.zeros(len(queries), np.bool_), 0)
    data, offsets = buffers(texts)
    ids, places = np.empty(1000, np.int32), np.zeros(len(offsets), np.int64)
    assert match_tokens(data, offsets, 0, table.arrays, ids, places) == len(texts)
    found = sort_each(ids, places, len(queries))
    return [found[a:b].tolist() for a, b in itertools.pairwise(places)]


@settings(deadline=None)
@given(st.binary(max_size=30), st.binary(max_size=30))
def test_short_tokens_have_the_same_key_only_where_they_are_the_same(one: bytes, two: bytes) -> None:
    short = {token: key for text in (one, two) for token, key in zip(text.split(b" "), keys(text), strict=False)}
    short = {token: key for token, key in short.items() if len(token) <= SHORT_BYTES}
    assert len(set(short.values())) == len(short)
    assert all(NO_TOKEN < key < LONG for key in short.values())


def long_tokens_with_one_key() -> tuple[bytes, bytes]:
    """Two tokens of eight bytes whose hash is the same, by computing the hash backwards."""
    mask = (1 << 64) - 1
    one = b"colliding"[:8]
    head = int.from_bytes(one[:7], "little")
    wanted = ((head ^ (head >> 23)) * MULTIPLIER + one[7]) & LOW_56
    for top, byte in itertools.product(range(256), range(33, 256)):
        product = ((top << 56 | wanted) - byte) * pow(MULTIPLIER & mask, -1, 1 << 64) & mask
        head = product ^ (product >> 23) ^ (product >> 46)
        two = head.to_bytes(8, "little")
        if two[7] == 0 and b" " not in two and two[:7] != one[:7]:
            return one, two[:7] + bytes([byte])
    raise AssertionError("no two tokens found")


def test_long_tokens_with_the_same_hash_are_told_apart() -> None:
    one, two = long_tokens_with_one_key()
    assert one != two
    assert keys(one)[0] == keys(two)[0] >= LONG
    texts = [one, two, one + b" " + two, two + b" " + one]
    assert matches([one, two, two + b" " + one], texts) == [[0], [1], [0, 1], [0, 1, 2]]
    assert matches([two], texts) == [[], [0], [0], [0]]


def test_empty_tokens_are_tokens() -> None:
    assert matches([b"", b"a", b"a  b"], [b"", b"a b", b"a  b", b" a"]) == [[0], [1], [0, 1, 2], [0, 1]]


def test_a_full_table_is_never_built_however_few_the_queries() -> None:
    assert matches([b"a"], [b"b", b"a"]) == [[], [0]]
    assert build(*buffers([]), np.zeros(0, np.bool_), 0).slots.tolist() == [0, 0]
