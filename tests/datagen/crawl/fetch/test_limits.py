from __future__ import annotations

import time

import pytest

from datagen.crawl.deadline import Deadline


def test_what_is_left_shrinks_to_an_error() -> None:
    deadline = Deadline(0.1)
    assert 0 < deadline.left() <= 0.1
    time.sleep(0.11)
    with pytest.raises(TimeoutError):
        deadline.left()


def test_a_pause_does_not_count() -> None:
    deadline = Deadline(0.2)
    with deadline.paused():
        time.sleep(0.3)
    assert deadline.left() > 0.1
