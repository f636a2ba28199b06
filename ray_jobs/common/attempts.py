"""Attempts at work that may end its process: after three such ends it is given up instead of tried for ever.

Ray restarts a process that dies and gives it the same rows again, without end. `Attempts` writes a counter to attempts/
of the output before the work on a row and deletes it after, so a counter is left only where the process died meanwhile.
Many rows may be in a process that dies by one of them, and all of these leave counters: a row that is tried again has
the process to itself, so that no row is given up for what another one does.

A job deletes attempts/ when it starts, as the counters of a killed job are of rows that happened to be in work. So a
row that ends the job itself, such as by the memory of the whole machine, is tried anew by each run.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from threading import Condition

import ray
import ray.data

from motion.errors import InputError
from ray_jobs.common import storage

ATTEMPTS = "attempts"
MOST = 3
"""Ends of its process after which a row, or the start of an actor, is given up."""


@dataclass(frozen=True, eq=False)
class _Turn:
    alone: bool


class Turns:
    """Order of threads that work side by side, or alone where they ask for it; who comes first begins first."""

    def __init__(self) -> None:
        self._turns: list[_Turn] = []
        self._changed = Condition()

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Wait for all who came before, or, to work side by side, for those of them who work alone."""
        turn = _Turn(alone)
        with self._changed:
            self._turns.append(turn)
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._may_begin(turn))
            yield
        finally:
            with self._changed:
                self._turns.remove(turn)
                self._changed.notify_all()

    def _may_begin(self, turn: _Turn) -> bool:
        before = self._turns[: self._turns.index(turn)]
        return not any(turn.alone or each.alone for each in before)


_TURNS = Turns()
"""Turns of all attempts in this process: Ray Data may run two stages in one."""


class Attempts:
    """Counters of the rows that are in work in one stage of a job."""

    def __init__(self, output: str, stage: str) -> None:
        """Count in attempts/ of `output`; `stage` names the work and is part of the counters' names."""
        self._output, self._stage = output, stage

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """Count the work on a row while it lasts; from the second attempt on no other is in this process meanwhile.

        Raises InputError where `MOST` attempts at the row have ended their process, RuntimeError where the work exits.
        """
        counter = storage.join(self._output, ATTEMPTS, f"{self._stage}-{_hashed(name)}")
        before = _read(counter)
        if before >= MOST:
            raise InputError(
                f"{name}: its process died {MOST} times in the {self._stage} stage, expected it to live: look at the "
                "files that it is made from (images, annotations, weights) and at the memory that the machine has"
            )
        with _TURNS.turn(alone=before > 0):
            storage.write_bytes(counter, str(before + 1).encode())
            try:
                yield
            except SystemExit as error:  # would end the process and all that is in it
                raise RuntimeError(f"it exited with {error.code}") from error
            finally:
                storage.delete_file(counter)

    @contextmanager
    def start(self) -> Iterator[None]:
        """Count the start of the actor that this process is, as a row; outside of an actor nothing is counted.

        Ray restarts an actor without end, too, whose process dies in its constructor.
        """
        actor = ray.get_runtime_context().get_actor_id() if ray.is_initialized() else None
        if actor is None:
            yield
            return
        with self.attempt(f"start of actor {actor}"):
            yield


def _hashed(name: str) -> str:
    return PurePosixPath(storage.shard_name([name])).stem


def _read(counter: str) -> int:
    with suppress(FileNotFoundError):
        return int(storage.read_bytes(counter))
    return 0


def lasting() -> ray.data.DataContext:
    """Copy the current settings of Ray Data and set those that let a long job outlast the faults of its processes.

    A constructor that raises is called again three times in its process, also that of an actor that is started again,
    for which Ray's max_consecutive_actor_init_deaths does nothing; then one more actor is started, as Ray cancels the
    start of one now and then, and what ends that one ends the job. No time without
    progress ends it, as a job may wait for nodes, or for a row that hangs in each of its attempts.
    """
    context = ray.data.DataContext.get_current().copy()
    context.actor_init_retry_on_errors, context.actor_init_max_retries = True, 3
    context.max_consecutive_actor_init_deaths = 1
    context.execution_no_progress_timeout_s = -1
    return context
