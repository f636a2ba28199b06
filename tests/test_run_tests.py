"""Ctrl-C in the middle of the tests, pressed once or twice, leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

REPO = Path(__file__).parents[1]
SCRIPT = '''
import subprocess, sys, time

def test_with_a_detached_child():
    """A process in a session of its own that outlives pytest, as Ray's do."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", {mark!r}], start_new_session=True)
    open({started!r}, "w").close()
    time.sleep(600)
'''


def marked(mark: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if mark in (process.info["cmdline"] or [])]


@pytest.mark.parametrize("presses", [1, 2])
def test_interrupted_tests_leave_nothing(tmp_path: Path, presses: int) -> None:
    mark, started = f"mark-{os.getpid()}-{presses}", tmp_path / "started"
    test = tmp_path / "test_sleeping.py"
    test.write_text(SCRIPT.format(mark=mark, started=str(started)))
    command = [sys.executable, "tests/run_tests.py", str(test), "-p", "no:cacheprovider"]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as supervisor:
        while not started.exists():
            assert supervisor.poll() is None, "the tests ended before they were interrupted"
            time.sleep(0.05)
        assert marked(mark)
        for _ in range(presses):
            supervisor.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert supervisor.wait(timeout=60) == 130
    assert not marked(mark)
