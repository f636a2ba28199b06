"""Progress of a job: its numbers on the console, at Ray's metrics endpoint, and in a real MLflow store."""

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from mlflow import MlflowClient

from ray_jobs.common import tracking
from ray_jobs.common.flow import Visit
from ray_jobs.common.tracker import tracked
from ray_jobs.reconstruct import ReconstructConfig
from ray_jobs.reconstruct.progress import Progress


def row(reason: str = "") -> dict[str, Any]:
    """Make the last row of a sequence of 30 frames of 2 persons, which takes 50 ms."""
    visits = Visit("fit", time.perf_counter)
    time.sleep(0.05)
    return {"reason": reason, "frames": 30, "person_frames": 60, "visits": visits.end()}


def test_the_console_shows_rates_shares_and_rejected(ray_cluster: None, capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(5, 2, None) as progress:
        for reason in ("", "", "no frames"):
            progress.add(row(reason))
    said = capfd.readouterr().err
    assert "5/5" in said
    assert "1 rejected" in said
    assert "busy: fit 100%" in said or "busy: fit 9" in said
    (frames,) = {line.partition(" frames/s")[0].rpartition(" ")[2] for line in said.split("\r") if "fit" in line}
    assert 200 < float(frames) < 600  # 90 frames in three times 50 ms, on a busy machine


def test_numbers_are_metrics_of_ray(ray_cluster: None) -> None:
    with Progress(1, 0, None) as progress:
        progress.add(row())
    (node,) = ray.nodes()
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 60
    while "ray_carescene_reconstruct_busy" not in (said := httpx.get(address).text):
        assert time.monotonic() < deadline, "Ray exports metrics every ten seconds"
        time.sleep(1)
    assert 'Stage="fit"' in said or 'stage="fit"' in said


def test_numbers_are_metrics_of_a_run_in_mlflow(ray_cluster: None, tmp_path: Path) -> None:
    uri = tracking.local_store(tmp_path / "store")
    config = ReconstructConfig(str(tmp_path), str(tmp_path / "out"), tracking_uri=uri)
    with tracked(config) as tracker, Progress(2, 0, tracker) as progress:
        for reason in ("", "no frames"):
            progress.add(row(reason))
    (run_id,) = [tracking.find_run(uri, "reconstruct", config.output)]
    assert run_id is not None
    run = MlflowClient(uri).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["mode"] == "hybrid"
    assert (run.data.metrics["sequences"], run.data.metrics["rejected"]) == (2, 1)
    assert run.data.metrics["busy_fit"] > 0.5
