"""Work that ends its process is tried three times, and is alone in its process from the second time on."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pytest
import ray
import ray.data
from ray.exceptions import ActorDiedError

from motion.errors import InputError
from motion.parquet import resolve
from ray_jobs.common import attempts as module
from ray_jobs.common import storage
from ray_jobs.common.attempts import ATTEMPTS, MOST, Attempts, Turns, lasting
from tests.helpers.object_store import bucket

DIED = rf"died {MOST} times in the body stage, expected it to live: look at the files"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with bucket() as uri:
        yield uri


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a folder that does not exist yet, on this machine or in the bucket."""
    return str(tmp_path / "new") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def counters(output: str) -> list[int]:
    filesystem, path = resolve(storage.join(output, ATTEMPTS))
    files = filesystem.get_file_info(pa.fs.FileSelector(path, allow_not_found=True))
    return sorted(int(storage.read_bytes(storage.join(output, ATTEMPTS, file.base_name))) for file in files)


def die(output: str, stage: str, *names: str) -> None:
    """Leave the counters that a process leaves which dies in the middle of this work."""
    attempts = Attempts(output, stage)
    with pytest.MonkeyPatch.context() as patched, ExitStack() as inside:
        patched.setattr(storage, "delete_file", lambda counter: None)
        for name in names:
            inside.enter_context(attempts.attempt(name))


def test_a_counter_is_there_while_the_work_lasts_and_no_longer(output: str) -> None:
    attempts = Attempts(output, "body")
    with attempts.attempt("a"), attempts.attempt("b"):
        assert counters(output) == [1, 1]
    assert counters(output) == []
    with pytest.raises(ZeroDivisionError), attempts.attempt("a"):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="it exited with no reason"), attempts.attempt("a"):
        sys.exit("no reason")
    assert counters(output) == []


def test_what_ended_its_process_three_times_is_given_up_and_nothing_else(output: str) -> None:
    die(output, "body", "a", "b")
    die(output, "body", "a")
    die(output, "body", "a")
    with pytest.raises(InputError, match=f"^a: its process {DIED}"), Attempts(output, "body").attempt("a"):
        raise AssertionError
    assert counters(output) == [1, 3]
    for stage, name in (("body", "b"), ("body", "c"), ("depth", "a")):
        with Attempts(output, stage).attempt(name):
            pass
    assert counters(output) == [3]


def test_first_attempts_are_side_by_side(tmp_path: Path) -> None:
    attempts, together = Attempts(str(tmp_path), "body"), threading.Barrier(3)

    def work(name: str) -> None:
        with attempts.attempt(name):
            together.wait(10)

    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(work, name) for name in "abc"]:
            each.result(20)


def test_a_repeated_attempt_waits_for_the_others_inside_and_others_for_it(tmp_path: Path) -> None:
    """The others are in another stage of the same process."""
    die(str(tmp_path), "body", "again")
    may_end = {name: threading.Event() for name in ("first", "again", "late")}
    begun: list[str] = []

    def work(name: str) -> None:
        with Attempts(str(tmp_path), "body" if name == "again" else "decode").attempt(name):
            begun.append(name)
            assert may_end[name].wait(10)

    with ThreadPoolExecutor(3) as pool:
        working = []
        for number, name in enumerate(may_end, 1):
            working.append(pool.submit(work, name))
            while len(module._TURNS._turns) < number:
                time.sleep(0.001)
        for number, name in enumerate(may_end, 1):
            time.sleep(0.2)
            assert begun == list(may_end)[:number]
            assert counters(str(tmp_path)) == [[1, 1], [2], [1]][number - 1]  # who waits has not begun another attempt
            may_end[name].set()
            working[number - 1].result(10)


def test_many_threads_keep_their_turns_and_all_of_them_come_to_an_end() -> None:
    turns, inside, seen, random = Turns(), [0, 0], [], Random(0)  # side by side, and alone

    def work(alone: bool) -> None:
        with turns.turn(alone=alone):
            inside[alone] += 1
            seen.append(tuple(inside))
            time.sleep(0.001)
            inside[alone] -= 1

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(work, random.random() < 0.3) for _ in range(400)]
        assert not wait(asked, 60).not_done
    assert [each.exception() for each in asked] == [None] * 400
    assert all(alone == 0 or (together, alone) == (0, 1) for together, alone in seen)
    assert max(together for together, _ in seen) > 4


def test_a_task_that_ends_its_process_is_given_up_by_ray_with_its_sentence(ray_cluster: None, tmp_path: Path) -> None:
    def dies(row: dict[str, Any]) -> dict[str, Any]:
        try:
            with Attempts(str(tmp_path), "body").attempt(row["name"]), (tmp_path / row["name"]).open("a") as file:
                file.write("tried\n")
                file.flush()
                if row["name"] == "bad":
                    os.kill(os.getpid(), signal.SIGKILL)
            return {"reason": ""}
        except InputError as error:
            return {"reason": str(error)}

    rows = ray.data.from_items([{"name": "bad"}, {"name": "good"}], override_num_blocks=2).map(dies, num_cpus=0.5)
    bad, good = sorted((row["reason"] for row in rows.iter_rows()), reverse=True)
    assert bad.startswith("bad: its process died 3 times")
    assert good == ""
    assert [len((tmp_path / name).read_text().split()) for name in ("bad", "good")] == [3, 1]


def started(tmp_path: Path, death: str, deaths: int) -> list[int]:
    """Run an actor whose constructor dies so many times; return what the actor gave."""

    class Starting:
        def __init__(self) -> None:
            with Attempts(str(tmp_path), "body").start(), (tmp_path / "log").open("a") as file:
                if file.tell() < deaths:
                    file.write(".")
                    file.flush()
                    if death == "killed":
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise OSError("the disk is away")

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return batch

    with ray.data.DataContext.current(lasting()):
        rows = ray.data.from_items([{"number": 7}])
    pool = ray.data.ActorPoolStrategy(size=1)
    return [row["number"] for row in rows.map_batches(Starting, batch_size=1, compute=pool, num_cpus=0.5).iter_rows()]


@pytest.mark.parametrize("death", ["killed", "raised"])
def test_an_actor_whose_constructor_dies_is_started_again(ray_cluster: None, tmp_path: Path, death: str) -> None:
    assert started(tmp_path, death, 1) == [7]
    assert counters(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("death", "error", "times"), [("killed", DIED, 6), ("raised", "the disk is away", 8)], ids=["killed", "raised"]
)
def test_a_constructor_that_always_dies_ends_the_job(
    ray_cluster: None, tmp_path: Path, death: str, error: str, times: int
) -> None:
    with pytest.raises(ActorDiedError, match=error):
        started(tmp_path, death, 1000)
    assert len((tmp_path / "log").read_text()) == times


def test_only_the_job_that_asks_for_it_has_these_settings() -> None:
    settings = lasting()
    assert (settings.actor_init_retry_on_errors, settings.execution_no_progress_timeout_s) == (True, -1)
    others = ray.data.DataContext.get_current()
    assert (others.actor_init_retry_on_errors, others.execution_no_progress_timeout_s) == (False, 1800)
