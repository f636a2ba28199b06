"""Jobs that are refused, or lose a worker, and what they leave to look at."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from motion.errors import InputError
from ray_jobs.common import tracking


def assert_refused(job: Callable[[Any], object], config: Any, sentence: str) -> None:
    """Run a job whose InputError must match `sentence` and which must not have made its output."""
    with pytest.raises(InputError, match=sentence):
        job(config)
    assert not Path(config.output).exists()


def known_checkpoint(output: str | Path) -> Path:
    """Return the file that Ray Train writes once it knows of a checkpoint; one that only lies there is made again."""
    return Path(output) / "train" / "checkpoint_manager_snapshot.json"


@contextmanager
def one_worker_killed(after: Path) -> Iterator[None]:
    """Send SIGKILL to a worker of Ray Train as soon as `after` exists; fail where there was none to kill."""
    killed: list[int] = []
    ended = threading.Event()
    killer = threading.Thread(target=_kill_one_worker, args=(after, killed, ended), daemon=True)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()
    assert killed


def _kill_one_worker(after: Path, killed: list[int], ended: threading.Event) -> None:
    while not after.exists():
        if ended.wait(0.02):
            return
    worker = own_processes("RayTrainWorker")[-1]
    worker.kill()
    killed.append(worker.pid)


def own_processes(word: str) -> list[psutil.Process]:
    """Find those of this test run's processes, and no other run's, that have a word in their command line."""
    family = psutil.Process().children(recursive=True)
    return [process for process in family if word in " ".join(_command_line(process))]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def logged_steps(output: str, run_id: str) -> list[int]:
    """List the steps whose loss was logged, once for each time: a step that was made again comes twice."""
    client = MlflowClient(tracking.local_store(output))
    return [metric.step for metric in client.get_metric_history(run_id, "loss")]


def wait_for(path: Path) -> None:
    """Wait until a file is there, two minutes at most."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
