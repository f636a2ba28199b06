"""Batches that are filled from many threads."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import torch

from ray_jobs.common.batcher import Batcher
from tests.conftest import REPO


class Doubling:
    """Doubles numbers, notes the batches it was given, and waits at first until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.go_on.wait(10)
        return [2 * number for number in numbers]


def asked_while_busy(
    batcher: Batcher[int, int], doubling: Doubling, wanted: Sequence[Sequence[int]]
) -> list[Future[list[int]]]:
    """Ask for an item, and for others, one list a thread, while that one is being computed."""
    pool = ThreadPoolExecutor(len(wanted) + 1)
    first = pool.submit(batcher, [1])
    assert doubling.begun.wait(10)
    others = []
    for numbers in wanted:
        waiting = batcher._waiting.qsize()
        others.append(pool.submit(batcher, numbers))
        while batcher._waiting.qsize() < waiting + len(numbers):
            pass
    doubling.go_on.set()
    pool.shutdown(wait=False)
    return [first, *others]


def test_batches_are_full_of_what_many_ask_for_and_each_gets_its_own() -> None:
    doubling = Doubling()
    asked = asked_while_busy(Batcher(doubling, 4), doubling, [[2, 3, 4], [5, 6, 7]])
    assert [each.result(10) for each in asked] == [[2], [4, 6, 8], [10, 12, 14]]
    assert doubling.batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_the_cost_of_items_fills_a_batch_and_one_that_costs_more_has_its_own() -> None:
    doubling = Doubling()
    asked = asked_while_busy(Batcher(doubling, 9, float), doubling, [[2, 3], [5, 20, 1]])
    assert [each.result(10) for each in asked] == [[2], [4, 6], [10, 40, 2]]
    assert doubling.batches == [[1], [2, 3], [5], [20], [1]]


def test_who_asks_for_nothing_gets_nothing() -> None:
    assert Batcher(lambda numbers: numbers, 4)([]) == []


def test_only_who_asked_for_what_fails_gets_the_error() -> None:
    doubling = Doubling()

    def fails(numbers: Sequence[int]) -> list[int]:
        if 13 in numbers:
            raise ZeroDivisionError(f"{numbers}")
        return doubling(numbers)

    one, bad, good = asked_while_busy(Batcher(fails, 8), doubling, [[2, 13], [3, 4]])
    assert one.result(10) == [2]
    assert good.result(10) == [6, 8]
    with pytest.raises(ZeroDivisionError, match=r"\[13\]"):
        bad.result(10)


def test_a_wrong_number_of_answers_is_an_error_and_not_a_wait_for_ever() -> None:
    with pytest.raises(ValueError, match="longer|shorter"):
        Batcher(lambda numbers: [], 4)([1])


def test_who_asked_for_what_ends_the_thread_does_not_wait_for_ever() -> None:
    def ends(numbers: Sequence[int]) -> list[int]:
        sys.exit(f"{numbers}")

    batcher = Batcher(ends, 4)
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"\[1\]"):
            batcher([1])


def test_it_tells_how_long_it_computed() -> None:
    def slowly(items: Sequence[int]) -> Sequence[int]:
        time.sleep(0.05 * len(items))
        return items

    batcher = Batcher(slowly, 4)
    assert batcher.seconds() == 0
    batcher([1, 2])
    time.sleep(0.3)
    assert 0.1 <= batcher.seconds() < 0.3


def test_out_of_memory_halves_the_batches_from_then_on() -> None:
    doubling, tried = Doubling(), []

    def compute(numbers: Sequence[int]) -> list[int]:
        tried.append(len(numbers))
        if len(numbers) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return doubling(numbers)

    batcher = Batcher(compute, 8)
    _, asked = asked_while_busy(batcher, doubling, [range(2, 10)])
    assert asked.result(10) == list(range(4, 20, 2))
    assert doubling.batches == [[1], [2, 3], [4, 5], [6, 7], [8, 9]]
    tried.clear()
    assert batcher(range(20)) == list(range(0, 40, 2))
    assert max(tried) <= 2


HANGING = """
import time

from ray_jobs.common.batcher import Batcher

def sleeps(seconds):
    time.sleep(3600 if 0.5 in seconds else sum(seconds))
    return seconds

batcher = Batcher(sleeps, 1.0, cost=float, limit_s=1.5)
print(batcher([0.0]), batcher([0.1]))
time.sleep(2)  # what has ended is no longer watched
print(batcher([2.0]))  # costs twice as much as a batch may, so it may take 3 s
print(batcher([0.5]))
"""


def test_a_batch_that_hangs_ends_its_process_with_a_line_that_names_it() -> None:
    ended = subprocess.run(
        [sys.executable, "-u", "-c", HANGING], cwd=REPO, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "[0.0] [0.1]\n[2.0]\n")
    assert "a batch of 1 in <function sleeps at" in ended.stderr
    assert "has not ended within 1.5 s: this process ends, and its rows are tried again" in ended.stderr
    assert ", line 7 in sleeps" in ended.stderr
