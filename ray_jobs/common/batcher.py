"""Batches inside an actor: many sequences are in it at once, and one thread fills each batch from all of them.

A sequence alone has too few crops for a GPU, and its last batch is rarely full. Ray Data calls the actor from a thread
for each sequence (`INSIDE` at a time); each call hands its items to the actor's `Batcher` and waits for the answers.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import torch

from ray_jobs.common.watchdog import LIMIT_S, in_time

INSIDE = 8
"""Rows that are in an actor at once."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


class Batcher(Generic[Item, Answer]):
    """Function from items to answers that many threads call; one thread computes full batches of all their items.

    A batch that fails is halved until a single item fails, whose caller gets the error: others lose time only. Batches
    are smaller for good once a GPU had too little memory. A batch that takes too long ends the process (`in_time`).
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Answer]],
        most: float,
        cost: Callable[[Item], float] = lambda _: 1.0,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Compute batches of items whose `cost` is at most `most` in sum, and of at least one item.

        A batch may take `limit_s` seconds, and an item that costs more than `most` as much longer as it costs more.
        """
        self._compute, self._most, self._cost = compute, most, cost
        self._computed = 0.0
        self._seconds_per_cost, self._limit_s = limit_s / most, limit_s
        self._waiting: SimpleQueue[tuple[Item, Future[Answer]]] = SimpleQueue()
        Thread(target=self._serve, daemon=True).start()

    def __call__(self, items: Sequence[Item]) -> list[Answer]:
        """Wait for the answers to these items; raises what `compute` raised for one of them."""
        asked = [(item, Future[Answer]()) for item in items]
        for each in asked:
            self._waiting.put(each)
        return [future.result() for _, future in asked]

    def seconds(self) -> float:
        """Return how long batches were computed so far."""
        return self._computed

    def _serve(self) -> None:
        for batch in self._batches():
            self._answer(batch)

    def _batches(self) -> Iterator[list[tuple[Item, Future[Answer]]]]:
        """Yield what is waiting as full batches, and a smaller one only where nothing else waits."""
        batch: list[tuple[Item, Future[Answer]]] = []
        cost = 0.0
        while True:
            try:
                following = self._waiting.get(block=not batch)
            except Empty:
                yield batch
                batch, cost = [], 0.0
                continue
            own = self._cost(following[0])
            if batch and cost + own > self._most:
                yield batch
                batch, cost = [], 0.0
            batch.append(following)
            cost += own

    def _answer(self, batch: list[tuple[Item, Future[Answer]]]) -> None:
        try:
            answers = list(zip(batch, self._in_time([item for item, _ in batch]), strict=True))
        except BaseException as error:  # sys.exit of a user's network, too: its caller would wait for ever
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            if isinstance(error, torch.OutOfMemoryError):
                self._most = sum(self._cost(item) for item, _ in batch) / 2
                logger.warning("out of memory with a batch of %d: batches are half as large from now on", len(batch))
        else:
            for (_, future), answer in answers:
                future.set_result(answer)
            return
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            self._answer(half)

    def _in_time(self, items: Sequence[Item]) -> Sequence[Answer]:
        seconds = max(self._limit_s, self._seconds_per_cost * sum(map(self._cost, items)))
        began = time.perf_counter()
        try:
            with in_time(seconds, f"a batch of {len(items)} in {self._compute}"):
                return self._compute(items)
        finally:
            self._computed += time.perf_counter() - began
