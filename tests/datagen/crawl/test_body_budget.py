from __future__ import annotations

import threading

from datagen.crawl.body_budget import BodyBudget


def test_more_than_is_free_is_waited_for() -> None:
    budget, taken = BodyBudget(10), threading.Event()
    budget.take(7)
    waiting = threading.Thread(target=lambda: (budget.take(4), taken.set()))
    waiting.start()
    assert not taken.wait(0.1)
    budget.give_back(1)
    assert taken.wait(5)
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
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] <= 100
