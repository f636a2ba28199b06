"""Run pytest and leave no process and no port behind: `python tests/run_tests.py [pytest's arguments]`.

Ray's raylet, GCS and workers, MLflow's server and the like are in sessions of their own, so a Ctrl-C does not reach
them, and pytest's fixtures may be cut short before they stop them. This supervisor is a child subreaper (prctl(2)):
whatever pytest leaves behind becomes its child, and it kills all of that.

The first Ctrl-C (or SIGTERM, SIGHUP) is passed to pytest, whose fixtures get GRACE_S seconds to tear down; a second one
kills at once. Linux only.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import psutil

GRACE_S = 20
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
INTERRUPTED = 130
PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of init's."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def start_pytest(arguments: Sequence[str]) -> int:
    """Start pytest in a session of its own, without standard input and with no signal blocked."""
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "pytest", *arguments],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setsid=True,
        setsigmask=(),
    )


def wait_reaping(pytest: int) -> int:
    """Wait for pytest and reap the orphans that end before it, so that none looks alive as a zombie."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == pytest:
            return os.waitstatus_to_exitcode(status)


def kill_descendants() -> None:
    """Kill until none is left: a child killed early may have had children that only now become ours."""
    while descendants := psutil.Process().children(recursive=True):
        for process in descendants:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def supervise(arguments: Sequence[str]) -> int:
    """Run pytest to its end or to a stop signal; return its exit status, or 130 when interrupted."""
    stops = 0

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stops
        stops += 1
        os.kill(pytest, signal.SIGINT if stops == 1 else signal.SIGKILL)
        signal.alarm(GRACE_S)

    become_subreaper()
    # Blocked until the handler knows whom to signal; pytest itself starts with nothing blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    pytest = start_pytest(arguments)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    status = wait_reaping(pytest)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    kill_descendants()
    return INTERRUPTED if stops else status


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:]))
