"""Flow of rows through the stages of a job: how busy each stage is, and where rows wait.

Every stage notes in the row when the row came, when it left, and how long the stage's process had computed before and
after. The job adds the notes up as rows arrive: by Little's law the mean number of rows that wait before a stage is the
sum of their waits over the time that passed.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

BALANCED = 0.8
"""Share of the busiest stage's work from which another one keeps up with it just so."""


@dataclass(frozen=True)
class StageUse:
    """Use of one stage during a job."""

    stage: str
    workers: int
    """Processes that worked."""
    busy: float
    """Share of the time in which a process of the stage computed; more than 1 where it used several CPUs."""
    inside: float
    """Mean number of rows in the stage."""
    waiting: float
    """Mean number of rows that waited between the stage before and this one."""
    label: str = ""
    """One of `bottleneck`, `balanced`, `buffered` and `starved`; see `Flow.uses`."""


@dataclass(eq=False)
class _Sums:
    inside_s: float = 0.0
    waited_s: float = 0.0
    computed: dict[str, list[float]] = field(default_factory=dict)


class Visit:
    """Visit of a row to a stage, from now on."""

    def __init__(self, stage: str, computed: Callable[[], float] = time.process_time) -> None:
        """Begin; `computed` gives the seconds that all rows' work in this process, for this stage, took so far."""
        self._stage, self._computed = stage, computed
        self._came, self._before = time.time(), computed()

    def end(self, visits: str = "") -> str:
        """End the visit and add a line about it to those of the row's earlier visits."""
        worker = f"{socket.gethostname()} {os.getpid()}"
        return (
            visits + json.dumps([self._stage, worker, self._came, time.time(), self._before, self._computed()]) + "\n"
        )


class Clock:
    """Sum of the seconds that threads of this process computed for a stage that shares the process with another."""

    def __init__(self) -> None:
        self._seconds, self._lock = 0.0, Lock()

    def seconds(self) -> float:
        """Return the sum so far."""
        return self._seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add what the calling thread computes meanwhile."""
        before = time.thread_time()
        try:
            yield
        finally:
            with self._lock:
                self._seconds += time.thread_time() - before


class Flow:
    """Sum of the visits of a job's rows to its stages."""

    def __init__(self) -> None:
        self._stages: dict[str, _Sums] = {}
        self._began, self._ended = float("inf"), 0.0

    @property
    def seconds(self) -> float:
        """Seconds from the first row that came to the last that left."""
        return max(0.0, self._ended - self._began)

    def add(self, visits: str) -> None:
        """Add the visits of a row, a line each in their order."""
        left_before = None
        for each in visits.splitlines():
            stage, worker, came, left, before, after = json.loads(each)
            sums = self._stages.setdefault(stage, _Sums())
            sums.inside_s += left - came
            sums.waited_s += 0.0 if left_before is None else max(0.0, came - left_before)
            known = sums.computed.setdefault(worker, [before, after])
            known[:] = min(known[0], before), max(known[1], after)
            left_before = left
            self._began, self._ended = min(self._began, came), max(self._ended, left)

    def uses(self) -> list[StageUse]:
        """Describe the stages in the order of a row's visits; none before a row was added.

        The busiest stage is the bottleneck; one that works at least `BALANCED` as much is balanced. Of the others, one
        before which at least a row a worker waits is buffered, and one that waits for rows is starved.
        """
        found = [self._use(stage, sums) for stage, sums in self._stages.items()]
        most = max((use.busy for use in found), default=0.0)
        return [StageUse(**vars(use) | {"label": _label(use, most)}) for use in found]

    def _use(self, stage: str, sums: _Sums) -> StageUse:
        workers, seconds = len(sums.computed), max(self.seconds, 1e-9)
        computed = sum(after - before for before, after in sums.computed.values())
        return StageUse(
            stage, workers, computed / (seconds * workers), sums.inside_s / seconds, sums.waited_s / seconds
        )


def _label(use: StageUse, most: float) -> str:
    if use.busy >= most:
        return "bottleneck"
    if use.busy >= BALANCED * most:
        return "balanced"
    return "buffered" if use.waiting >= use.workers else "starved"


def describe(uses: list[StageUse]) -> str:
    """Put the stages into one line."""
    return ", ".join(f"{use.stage} {use.label} ({use.workers} × {use.busy:.0%} busy)" for use in uses)
