"""Demo from end to end in processes of its own, with a few training steps: every stage runs and resumes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from motion.sequence import read_motions
from ray_jobs.common import tracking
from tests.helpers.jobs import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPO = Path(__file__).parents[2]


def run_demo(output: Path) -> str:
    few = ["--rooms", "1", "--steps", "4", "--samples-per-prompt", "1"]
    command = [sys.executable, "-m", "ray_jobs.demo", "--output", str(output), "--port", str(free_port()), *few]
    done = subprocess.run(command, cwd=REPO, env=os.environ, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("demo")
    run_demo(output)
    return output


@pytest.fixture(scope="module")
def mlflow_ui(demo: Path) -> Iterator[str]:
    """Run `mlflow ui` on the demo's store, as its report says to start it."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1"]
    store = tracking.local_store(demo / "run")
    with subprocess.Popen([*command, "--backend-store-uri", store], stdout=subprocess.DEVNULL) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                httpx.get(f"{address}/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield address
        server.terminate()


def test_it_leaves_a_report_and_labelled_motions(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    generated = read_motions(demo / "generated" / "motions")
    assert len(generated) == 15
    assert all(motion.texts[0] in page for motion in generated if "'" not in motion.texts[0])
    stages = {"rooms", "reconstruct", "prepare", "train", "serve", "generate", "picture"}
    assert set(json.loads((demo / "stages.json").read_text())) == stages
    assert (demo / "walk.png").stat().st_size > 10_000


def test_it_begins_with_rooms_and_trains_on_their_people(demo: Path) -> None:
    (room,) = read_motions(demo / "reconstructed" / "motions")
    trained_on = read_motions(demo / "data" / "motions")
    assert f"teton/{room.id}" in {motion.id for motion in trained_on}
    assert room.texts[0] in (demo / "report.html").read_text()


def test_mlflow_ui_shows_the_run(mlflow_ui: str) -> None:
    """MLflow's own HTTP API returns parameters, loss, resolved config and sample pictures."""
    api = f"{mlflow_ui}/api/2.0/mlflow"
    experiment = httpx.get(f"{api}/experiments/get-by-name", params={"experiment_name": "carescene"}).json()
    body = {"experiment_ids": [experiment["experiment"]["experiment_id"]]}
    (run,) = httpx.post(f"{api}/runs/search", json=body).json()["runs"]
    assert {"key": "recipe.denoiser.width", "value": "192"} in run["data"]["params"]
    assert "loss" in {metric["key"] for metric in run["data"]["metrics"]}
    run_id = run["info"]["run_id"]
    names = [
        item["path"]
        for path in ("", "samples")
        for item in httpx.get(f"{api}/artifacts/list", params={"run_id": run_id, "path": path}).json()["files"]
    ]
    assert names == ["config.yaml", "samples", "samples/a_person_walks_forward.png"]
    picture = httpx.get(f"{mlflow_ui}/get-artifact", params={"run_id": run_id, "path": names[-1]})
    assert picture.content.startswith(b"\x89PNG")
