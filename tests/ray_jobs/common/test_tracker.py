"""Figures and files reach a real MLflow server once, whatever happens to it meanwhile."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ray_jobs.common import tracker as tracker_module
from ray_jobs.common import tracking
from ray_jobs.common.tracker import UNSENT_FILE, Figures, Tracker, Unsent, send_rest, tracked
from tests.helpers.mlflow_server import MlflowServer, mlflow_server


@dataclass(frozen=True)
class Config:
    output: str
    experiment: str
    tracking_uri: str | None
    seed: int = 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def config(server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(tracker_module, "RETRY_S", (0.2, 0.5))
    return Config(str(tmp_path / "out"), tmp_path.name, server.uri)


def run_of(config: Config) -> str:
    assert config.tracking_uri is not None
    run_id = tracking.find_run(config.tracking_uri, config.experiment, config.output)
    assert run_id is not None
    return run_id


def curve(config: Config) -> list[tuple[int, float]]:
    """Return all values of the loss that the server holds, also those of one step twice."""
    history = MlflowClient(config.tracking_uri).get_metric_history(run_of(config), "loss")
    return [(metric.step, metric.value) for metric in history]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_job_is_a_run_with_its_figures_files_and_end(config: Config) -> None:
    with tracked(config) as tracker:
        tracker.log(1, {"loss": 2.0, "lr": 0.1})
        tracker.log_file("config.yaml", b"seed: 0")
        tracker.log_file("samples/a.png", b"picture")
    client = MlflowClient(config.tracking_uri)
    run = client.get_run(run_of(config))
    assert (run.info.status, run.data.params["seed"], run.data.metrics) == ("FINISHED", "0", {"loss": 2.0, "lr": 0.1})
    assert [file.path for file in client.list_artifacts(run.info.run_id, "samples")] == ["samples/a.png"]
    with pytest.raises(KeyboardInterrupt), tracked(config):
        raise KeyboardInterrupt
    assert client.get_run(run_of(config)).info.status == "FAILED"


def test_an_evaluation_made_again_has_its_new_figures(config: Config) -> None:
    for loss in (2.0, 1.5):
        with tracked(config) as tracker:
            tracker.log(0, {"loss": loss})
    assert curve(config) == [(0, 2.0), (0, 1.5)]


def test_a_server_that_is_killed_gets_what_it_missed(
    config: Config, server: MlflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    with tracked(config) as tracker:
        tracker.log(1, {"loss": 1.0})
        until(lambda: not tracker.unsent())
        server.kill()
        began = time.monotonic()
        for step in range(2, 60):
            tracker.log(step, {"loss": 1 / step})
        assert time.monotonic() - began < 0.1, "the loop waits for nothing"
        until(lambda: "takes nothing" in caplog.text)
        server.start()
    assert curve(config) == [(step, 1 / step) for step in range(1, 60)]
    assert not (Path(config.output) / UNSENT_FILE).exists()
    assert sum("takes nothing" in record.message for record in caplog.records) == 1, "one warning an outage"


def test_a_server_that_is_away_from_start_to_end_gets_all_from_the_output(
    config: Config, server: MlflowServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracker_module, "LAST_WAIT_S", 1.0)
    server.kill()
    try:
        with tracked(config) as tracker:
            tracker.log(1, {"loss": 1.0})
            tracker.log_file("samples/a.png", b"picture")
    finally:
        server.start()
    rest = Path(config.output) / UNSENT_FILE
    assert f"the rest is in {rest}" in caplog.text
    monkeypatch.setattr(tracker_module, "LAST_WAIT_S", 30.0)
    send_rest(config)
    assert not rest.exists()
    run = MlflowClient(config.tracking_uri).get_run(run_of(config))
    assert (run.info.status, curve(config)) == ("FINISHED", [(1, 1.0)])


def test_a_locked_database_is_waited_for(config: Config, server: MlflowServer) -> None:
    with tracked(config) as tracker:
        tracker.log(1, {"loss": 1.0})
        until(lambda: not tracker.unsent())
        with closing(sqlite3.connect(server.database)) as database:
            database.execute("begin exclusive")
            tracker.log(2, {"loss": 0.5})
            time.sleep(2)
            assert tracker.unsent().figures
    assert curve(config) == [(1, 1.0), (2, 0.5)]


def test_what_was_sent_twice_and_what_was_made_again_is_there_once(config: Config) -> None:
    """A training sends steps 1 to 4, and goes on from its checkpoint at 2, of which step 2 seemed unsent."""
    figures = [Figures(step, 1000 + step, {"loss": 1 / step}) for step in range(1, 5)]
    Path(config.output).mkdir()
    for sent, made_again in ((figures, ()), (figures[1:2], range(3, 7))):
        tracker = Tracker(str(config.tracking_uri), config, training=True)
        tracker.take(Unsent(sent))
        for step in made_again:
            tracker.log(step, {"loss": 1 / step})
        assert not tracker.close()
    assert curve(config) == [(step, 1 / step) for step in range(1, 7)]


def test_a_training_of_an_output_that_was_deleted_is_a_run_of_its_own(config: Config) -> None:
    for loss in (2.0, 1.5):
        Path(config.output).mkdir()
        with tracked(config, training=True) as tracker:
            tracker.log(20, {"loss": loss})
        assert curve(config) == [(20, loss)], "that of the last one"
        shutil.rmtree(config.output)


def test_what_is_unsent_is_a_file_and_the_oldest_of_too_much_is_lost(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    unsent = Unsent([Figures(3, 5, {"loss": 0.1})], {"samples/a.png": b"\x00\xff"}, "FAILED")
    assert Unsent.from_json(unsent.to_json()) == unsent
    assert unsent
    assert not Unsent()
    monkeypatch.setattr(tracker_module, "MOST_FIGURES", 2)
    tracker = Tracker("http://127.0.0.1:9", replace(config, tracking_uri="http://127.0.0.1:9"))
    for step in range(3):
        tracker.log(step, {"loss": 0.0})
    assert [each.step for each in tracker.unsent().figures] == [1, 2]
    assert "2 figures wait for MLflow at http://127.0.0.1:9: the oldest are lost" in caplog.text
