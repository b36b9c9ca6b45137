from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from datagen.crawl.remembered import Remembered, settle


def counting(cache: Remembered[str, int], key: str, made: list[str], value: int = 1) -> Future[int]:
    def start(future: Future[int]) -> None:
        made.append(key)
        settle(future, lambda: 1 // value)

    return cache.future(key, start)


def test_a_value_is_made_once_until_its_time_is_over() -> None:
    cache, made = Remembered[str, int](10, keep_s=0.2, keep_error_s=0.0), list[str]()
    assert [counting(cache, "a", made).result() for _ in range(3)] == [1, 1, 1]
    assert made == ["a"]
    time.sleep(0.25)
    counting(cache, "a", made)
    assert made == ["a", "a"]


def test_an_error_is_kept_for_a_time_of_its_own() -> None:
    cache, made = Remembered[str, int](10, keep_s=0.0, keep_error_s=60.0), list[str]()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            counting(cache, "a", made, 0).result()
    assert made == ["a"]


def test_what_was_asked_for_least_recently_goes_first() -> None:
    cache, made = Remembered[str, int](2, 60.0, 60.0), list[str]()
    for key in "abaca":
        counting(cache, key, made)
    assert made == ["a", "b", "c"]
    counting(cache, "b", made)
    assert made == ["a", "b", "c", "b"]


def test_threads_that_ask_at_once_share_one_making() -> None:
    cache, made, gate = Remembered[str, int](2, 60.0, 60.0), list[str](), threading.Barrier(8)

    def ask(_: int) -> int:
        gate.wait()
        return counting(cache, "a", made).result()

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [1] * 8
    assert made == ["a"]
