"""Flow of rows through the stages of a job: how busy each stage is, and where rows wait.

Every stage notes in the row when the row came, when it left, and how long the stage's process had computed by then. The
job adds the notes up as rows arrive: by Little's law the mean number of rows that wait before a stage is the sum of
their waits over the time that passed.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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
    visits: int = 0
    inside_s: float = 0.0
    waited_s: float = 0.0
    computed: dict[str, list[float]] = field(default_factory=dict)


@contextmanager
def visit(row: dict[str, Any], stage: str, computed: Callable[[], float] = time.process_time) -> Iterator[None]:
    """Note a row's visit to a stage in its column `visits`; `computed` gives the seconds that its process computed."""
    came, before = time.time(), computed()
    yield
    worker = f"{socket.gethostname()} {os.getpid()}"
    row["visits"] = [*row.get("visits", ()), json.dumps([stage, worker, came, time.time(), before, computed()])]


class Flow:
    """Sum of the visits of a job's rows to its stages."""

    def __init__(self) -> None:
        self._stages: dict[str, _Sums] = {}
        self._began, self._ended = float("inf"), 0.0

    def add(self, visits: list[str]) -> None:
        """Add the visits of a row, in their order."""
        left_before = None
        for each in visits:
            stage, worker, came, left, before, after = json.loads(each)
            sums = self._stages.setdefault(stage, _Sums())
            sums.visits += 1
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
        seconds = self._ended - self._began
        found = [self._use(stage, sums, seconds) for stage, sums in self._stages.items()]
        most = max((use.busy for use in found), default=0.0)
        return [StageUse(**vars(use) | {"label": _label(use, most)}) for use in found]

    def _use(self, stage: str, sums: _Sums, seconds: float) -> StageUse:
        workers = len(sums.computed)
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
