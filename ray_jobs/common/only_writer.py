"""One writer an output: a second job on the same folder or URI is refused while the first one works.

In a folder the lock is the operating system's, on the file .writer, and ends with its process. In an object store,
which has none, it is an object in .writers/ that its job renews; one that is renewed no more is a killed job's.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa
import pyarrow.fs
import ray
from filelock import BaseFileLock, FileLock, Timeout

from motion.errors import InputError
from motion.parquet import resolve
from ray_jobs.common import storage
from ray_jobs.common.places import check_seen

LOCK = ".writer"
LEASES = ".writers"
ATTEMPTS = 20
RENEWED_S, STALE_S, POLL_S = 8.0, 30.0, 2.0

P = ParamSpec("P")
R = TypeVar("R")
logger = logging.getLogger(__name__)


def writes_output(job: Callable[P, R]) -> Callable[P, R]:
    """Hold the output of a job's configuration, its first argument, while the job runs.

    The job raises InputError before it begins where another one writes to that output, where nothing can be written,
    and where a node of the cluster does not see the folder.
    """

    @wraps(job)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        config: Any = args[0]
        with only_writer(str(config.output)):
            return job(*args, **kwargs)

    return alone


@contextmanager
def only_writer(output: str) -> Iterator[None]:
    """Hold a folder or URI for this process; a folder in which nothing was written is removed again."""
    with _lease(output) if "://" in output else _lock(Path(output)):
        yield


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        lock = _acquire(folder)
    except Timeout as error:
        raise InputError(_taken(str(folder), _who(folder / LOCK))) from error
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}; choose another --output") from error
    try:
        if ray.is_initialized():
            check_seen(str(folder / LOCK))
        yield
    finally:
        _remove_unused(folder)
        lock.release()


def _acquire(folder: Path) -> BaseFileLock:
    """Take the lock; the folder may vanish meanwhile where a job that wrote nothing ends, so it is tried again."""
    lock = FileLock(folder / LOCK)
    for attempt in range(ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
            (folder / LOCK).write_text(_me(), encoding="utf-8")
        except (FileNotFoundError, FileExistsError):
            lock.release()
            if attempt == ATTEMPTS - 1:
                raise
        else:
            break
    return lock


def _who(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(encoding="utf-8")
    return "it ends just now"


def _remove_unused(folder: Path) -> None:
    """Remove a folder that holds nothing but the lock, which this process still has."""
    with suppress(OSError):  # another job came meanwhile, or the folder was deleted
        if [path.name for path in folder.iterdir()] == [LOCK]:
            (folder / LOCK).unlink()
            folder.rmdir()


@contextmanager
def _lease(output: str) -> Iterator[None]:
    name = uuid.uuid4().hex
    mine = storage.join(output, LEASES, name)
    try:
        _wait_for_others(output, name)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"cannot write to {output}: {' '.join(str(error).split())[:300]}; check the URI and your credentials"
        ) from error
    ended = threading.Event()
    renewing = threading.Thread(target=_renew, args=(mine, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        _delete(mine)


def _renew(mine: str, ended: threading.Event) -> None:
    while not ended.wait(RENEWED_S):
        try:
            storage.write_bytes(mine, _me().encode())
        except OSError as error:
            logger.warning("cannot renew %s: %s", mine, error)


def _wait_for_others(output: str, name: str) -> None:
    """Write a lease where none is renewed: a killed job's is waited for.

    Raises InputError for one that is renewed.
    """
    mine = storage.join(output, LEASES, name)
    seen: dict[str, int] = {}
    while True:
        storage.write_bytes(mine, _me().encode())
        leases = _leases(output)
        now = leases.pop(name)  # by the store's own clock
        fresh = {other: time_ns for other, time_ns in leases.items() if now - time_ns < STALE_S * 1e9}
        if not fresh:
            for stale in leases:
                _delete(storage.join(output, LEASES, stale))
            return
        _delete(mine)
        if not seen:
            logger.info(
                "a job wrote to %s a moment ago; waiting for %g s to see whether it does still", output, STALE_S
            )
        for other, time_ns in fresh.items():
            if seen.setdefault(other, time_ns) != time_ns:
                raise InputError(_taken(output, f"it renews {other} in {LEASES}"))
        time.sleep(POLL_S + int.from_bytes(os.urandom(1)) / 256)  # two that came at once come back apart


def _leases(output: str) -> dict[str, int]:
    """List the times in ns at which the leases were written, by name."""
    filesystem, path = resolve(storage.join(output, LEASES))
    infos = filesystem.get_file_info(pa.fs.FileSelector(path, allow_not_found=True))
    return {info.base_name: info.mtime_ns for info in infos if not info.base_name.startswith(".")}


def _delete(uri: str) -> None:
    filesystem, path = resolve(uri)
    with suppress(FileNotFoundError):
        filesystem.delete_file(path)


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"


def _taken(output: str, who: str) -> str:
    return f"another job writes to {output} ({who}): wait for its end, or choose another --output"
