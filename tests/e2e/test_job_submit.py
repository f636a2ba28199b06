"""Jobs as a user of a cluster starts them: `ray job submit` against `ray start --head`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from motion.generator import load_model
from tests.helpers.jobs import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPO = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def port() -> int:
    """Choose where the cluster is joined, just before it starts."""
    return free_port()


@pytest.fixture(scope="module")
def cluster(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start a head node with token authentication; yield the environment to submit with."""
    dashboard, agent, client = (free_port() for _ in range(3))
    token = tmp_path_factory.mktemp("auth") / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    folder = Path(f"/tmp/rj{os.getpid()}")  # short: Ray puts sockets there, whose paths are limited
    start = [
        *("ray", "start", "--head", "--num-cpus=4", f"--port={port}", "--dashboard-host=127.0.0.1"),
        *(f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--ray-client-server-port={client}", "--object-store-memory=500000000"),
        f"--temp-dir={folder}",
    ]
    subprocess.run(start, env=environment, check=True, capture_output=True, timeout=120)
    yield environment
    # Not `ray stop`, which ends every Ray process on the machine.
    roots = [process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])]
    ours = roots + [child for process in roots for child in process.children(recursive=True)]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ours, timeout=20)
    shutil.rmtree(folder)


def submit(environment: dict[str, str], *entrypoint: str) -> subprocess.CompletedProcess:
    command = ["ray", "job", "submit", "--working-dir", ".", "--", *entrypoint]
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600, check=False)


def submit_training(environment: dict[str, str], data: str | Path, output: Path) -> subprocess.CompletedProcess:
    steps = ("--recipe.optim.steps", "3", "--recipe.optim.batch-size", "2")
    arguments = ("tiny", "--data", str(data), "--output", str(output), *steps)
    return submit(environment, "python", "-m", "ray_jobs.train", *arguments)


def test_one_epoch_trains(cluster: dict[str, str], port: int, prepared: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = submit_training(cluster, prepared, run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"Connecting to existing Ray cluster at address: \S+:{port}\b", done.stdout), done.stdout
    assert load_model(run / "model.safetensors").recipe.optim.steps == 3


def test_bad_input_fails_the_job_in_one_sentence(cluster: dict[str, str], tmp_path: Path) -> None:
    done = submit_training(cluster, tmp_path / "nowhere", tmp_path / "run")
    assert done.returncode == 1
    assert f"error: no motions in {tmp_path}/nowhere; make them with" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "run").exists()
