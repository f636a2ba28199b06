"""Jobs that are refused, or lose a worker."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from motion.errors import InputError


def assert_refused(job: Callable[[Any], object], config: Any, sentence: str) -> None:
    """Run a job whose InputError must match `sentence` and which must not have made its output."""
    with pytest.raises(InputError, match=sentence):
        job(config)
    assert not Path(config.output).exists()


@contextmanager
def one_worker_killed(after: Path) -> Iterator[None]:
    """Send SIGKILL to a worker of Ray Train as soon as `after` exists; fail where there was none to kill."""
    killed: list[int] = []
    killer = threading.Thread(target=_kill_one_worker, args=(after, killed), daemon=True)
    killer.start()
    yield
    killer.join()
    assert killed


def _kill_one_worker(after: Path, killed: list[int]) -> None:
    while not after.exists():
        time.sleep(0.02)
    workers = [p for p in psutil.process_iter(["cmdline"]) if "RayTrainWorker" in " ".join(p.info["cmdline"] or [])]
    workers[-1].kill()
    killed.append(workers[-1].pid)
