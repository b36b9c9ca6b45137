from __future__ import annotations

import datetime
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.crawl.fetch.limits import BodyBudget, Deadline, delay_s, retry_after_s
from helpers.patience import patience


def test_what_is_left_shrinks_to_an_error() -> None:
    deadline = Deadline(limit_s := patience(0.1))
    assert 0 < deadline.left() <= limit_s
    time.sleep(limit_s + 0.01)
    with pytest.raises(TimeoutError):
        deadline.left()


def test_a_pause_does_not_count() -> None:
    begun = time.monotonic()
    deadline = Deadline(60.0)
    with deadline.paused():
        time.sleep(0.3)
    assert deadline.left() >= 60.0 - (time.monotonic() - begun - 0.3)


def test_more_than_is_free_is_waited_for() -> None:
    budget, taken = BodyBudget(10), threading.Event()
    budget.take(7)
    waiting = threading.Thread(target=lambda: (budget.take(4), taken.set()))  # type: ignore[func-returns-value]
    waiting.start()
    assert not taken.wait(0.1)
    budget.give_back(1)
    assert taken.wait(patience(5))
    waiting.join()


def test_all_of_it_can_be_taken_again_and_again_by_many_threads() -> None:
    budget, held, most = BodyBudget(100), [0], [0]
    lock = threading.Lock()

    def work(size: int) -> None:
        for _ in range(50):
            budget.take(size)
            with lock:
                held[0] += size
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= size
            budget.give_back(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (100, 60, 50, 30, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(20))
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] <= 100


NOW = datetime.datetime(2024, 5, 31, 1, 0, 0, tzinfo=datetime.UTC)


@given(st.integers(0, 10_000), st.floats(0, 100), st.floats(0, 100))
def test_a_delay_lies_between_nothing_and_the_doubled_first_one_and_the_limit(
    attempt: int, first_s: float, most_s: float
) -> None:
    assert 0 <= delay_s(attempt, first_s, most_s) <= min(most_s, first_s * 2 ** min(attempt, 60))


def test_delays_are_spread_over_all_of_their_range() -> None:
    delays = [delay_s(2, 1.0, 60.0) for _ in range(300)]
    assert min(delays) < 0.4
    assert 3.6 < max(delays) <= 4


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Fri, 31 May 2024 01:00:30 GMT", 30.0),
        ("Fri, 31 May 2024 02:00:30 +0100", 30.0),
        ("Fri, 31 May 2024 00:00:00 GMT", 0.0),
        ("9" * 5000, 999999999999.0),
        ("soon", None),
        ("Fri, 31 May 2024 01:00:30", 30.0),
        ("Friday, 31-May-24 01:00:30 GMT", 30.0),
        ("Fri May 31 01:00:30 2024", 30.0),
        ("Fri, 99 May 2024 01:00:30 GMT", None),
        ("Fri, 31 May 2024 01:00:30 +999999999999999999", None),
        ("Fri, 31 May 0001 01:00:30 +2359", 0.0),
        ("Fri, 31 May 2024 01:00:30 " + "(" * 5000, 30.0),
        ("-5", None),
        ("1.5", None),
        ("", None),
        (None, None),
        ("٣", None),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize("year", ["9999", "10000", "99999999999", "9" * 50])
def test_a_date_in_any_year_is_one_to_wait_for(year: str) -> None:
    assert (retry_after_s(f"Fri, 31 Dec {year} 23:59:59 -0100", NOW) or 0) > 1e11


DATES = st.from_regex(r"\w{0,9},? ?\d{1,12}[ -]\w{3}[ -]\d{1,30} \d{1,9}:\d{1,9}:?\d{0,9} [+-]?\w{0,9}", fullmatch=True)


@given(DATES)
def test_no_date_is_too_odd_for_a_retry_after(value: str) -> None:
    assert (retry_after_s(value) or 0) >= 0


def test_a_shorter_deadline_never_outlasts_the_longer() -> None:
    assert Deadline(10).at_most(0.1).left() <= 0.1
    assert Deadline(0.1).at_most(10).left() <= 0.1
    with pytest.raises(TimeoutError):
        Deadline(0).at_most(10)


@given(st.text(max_size=40))
def test_no_text_is_too_odd_for_a_retry_after(value: str) -> None:
    assert (retry_after_s(value) or 0) >= 0
