"""Limit of time for work inside a process that nothing else can end: a library's call, or a file system that hangs."""

import faulthandler
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

LIMIT_S = 600.0
"""Seconds after which work counts as such that never ends."""

logger = logging.getLogger(__name__)


@contextmanager
def in_time(seconds: float, what: str) -> Iterator[None]:
    """End the process where what is inside has not ended in time, with an error line and the stack of each thread.

    Its rows are then tried again, and given up after some such ends (`ray_jobs.common.attempts`).
    """
    watchdog = Timer(seconds, _end_process, (seconds, what))
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def _end_process(seconds: float, what: str) -> None:
    logger.error("%s has not ended within %g s: this process ends, and its rows are tried again", what, seconds)
    faulthandler.dump_traceback()
    os._exit(1)
