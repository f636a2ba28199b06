"""A real `mlflow server` that can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from tests.helpers.jobs import free_port


class MlflowServer:
    """Server of the runs in a folder, at the same address whenever it runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.database, self._artifacts, self._port = folder / "server.db", folder / "artifacts", free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        store = (f"--backend-store-uri=sqlite:///{self.database}", f"--artifacts-destination={self._artifacts}")
        place = ("--host=127.0.0.1", f"--port={self._port}", "--workers=1")
        command = [sys.executable, "-m", "mlflow", "server", *place, *store]
        log = self.database.with_suffix(".log").open("ab")
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # a dozen processes that idle here
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, log.name
            assert time.monotonic() < deadline, log.name
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        """Kill all its processes at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Start a server and end it, whatever a test did to it."""
    server = MlflowServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
