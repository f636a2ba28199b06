"""Runs in a local MLflow store: found again by their output, with flat settings, metrics and an end."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient

from motion.errors import InputError
from ray_jobs.common import tracking


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tracking.local_store(tmp_path_factory.mktemp("tracked") / "new")


def test_a_local_store_is_a_file_in_a_folder_that_is_made(tmp_path: Path) -> None:
    assert tracking.local_store(tmp_path / "a" / "b") == f"sqlite:///{tmp_path}/a/b/mlflow.db"
    assert (tmp_path / "a" / "b").is_dir()


def test_nested_settings_become_dotted_names() -> None:
    settings = {"steps": 3, "recipe": {"name": "tiny", "optim": {"rate": 0.1, "betas": (0.9, 0.95)}}, "none": None}
    assert tracking.flatten(settings) == {
        "steps": 3,
        "recipe.name": "tiny",
        "recipe.optim.rate": 0.1,
        "recipe.optim.betas": (0.9, 0.95),
        "none": None,
    }


def test_a_run_is_found_again_by_its_output_and_goes_on(store: str, tmp_path: Path) -> None:
    assert tracking.find_run(store, "walks", "out/a") is None
    first = tracking.open_run(store, "walks", "out/a", tmp_path, {"network": {"width": 16}})
    other = tracking.open_run(store, "walks", "out/b", tmp_path, {})
    assert tracking.find_run(store, "walks", "out/a") == first != other
    assert tracking.find_run(store, "runs", "out/a") is None, "another experiment"
    client = MlflowClient(store)
    run = client.get_run(first)
    assert (run.data.params, run.info.run_name) == ({"network.width": "16"}, "a")
    assert run.info.artifact_uri.startswith(tmp_path.as_uri())
    client.set_terminated(first, "FAILED")
    assert tracking.open_run(store, "walks", "out/a", tmp_path, {"network": {"width": 32}}) == first
    run = client.get_run(first)
    assert (run.info.status, run.data.params) == ("RUNNING", {"network.width": "16"})


def test_settings_that_a_store_missed_are_added(store: str, tmp_path: Path) -> None:
    first = tracking.open_run(store, "half", "out", tmp_path, {"seed": 1})
    many = {f"name{number}": number for number in range(150)}
    assert tracking.open_run(store, "half", "out", tmp_path, {"seed": 2} | many) == first
    assert MlflowClient(store).get_run(first).data.params == {"seed": "1"} | {k: str(v) for k, v in many.items()}


def test_a_curve_has_one_value_a_step_in_order(store: str, tmp_path: Path) -> None:
    run_id = tracking.open_run(store, "curves", "out", tmp_path, {})
    for step, loss in ((20, 0.5), (10, 2.0), (30, 0.25), (20, 0.75)):  # a run that went on from step 10
        MlflowClient(store).log_metric(run_id, "loss", loss, step=step)
    assert tracking.loss_curve(store, run_id) == [(10, 2.0), (20, 0.75), (30, 0.25)]
    assert tracking.loss_curve(store, run_id, "accuracy") == []


def test_any_folder_holds_its_store_and_its_run_is_found_again(tmp_path: Path) -> None:
    name = 'o\'b "r" ü?x=1 50%25 #'
    output = tmp_path / name
    store = tracking.open_store(str(output), None)
    run_id = tracking.open_run(store, "paths", str(output), output, {})
    assert tracking.open_run(store, "paths", str(output), output, {}) == run_id
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in output.iterdir()] == ["mlflow.db"]


def test_the_store_of_a_uri_lies_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking.open_store("s3://bucket/run", "sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert tracking.local_folder("s3://bucket/run") == tmp_path
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(InputError, match=r"the MLflow store of s3://bucket/run, without --tracking-uri a file in the"):
        tracking.open_store("s3://bucket/run", None)


def test_a_store_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "mlflow.db").write_text("x" * 5000, encoding="utf-8")
    (tmp_path / "folder" / "mlflow.db").mkdir(parents=True)
    tracking.open_store(tmp_path / "new", None)
    (tmp_path / "new").rename(tmp_path / "old")  # MLflow remembers what it saw under a name
    old = tracking.local_store(tmp_path / "old")
    with closing(sqlite3.connect(tmp_path / "old" / "mlflow.db")) as database, database:
        database.execute("update alembic_version set version_num='451aebb31d03'")
    begin = time.monotonic()
    for output, uri, sentence in (
        ("damaged", None, "cannot be used: file is not a database"),
        ("folder", None, "cannot be used: unable to open database file"),
        ("old", None, f"cannot be used: another version of MLflow made it; .* `mlflow db upgrade {old}`"),
    ):
        with pytest.raises(InputError, match=sentence):
            tracking.open_store(tmp_path / output, uri)
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:////a/mlflow.db?mode=ro"])
def test_a_store_in_one_processs_memory_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InputError, match="expected sqlite:///FILE without options, which all processes see"):
        tracking.open_store(tmp_path, uri)


def test_a_server_that_is_away_or_trickles_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert tracking.open_store(tmp_path, uri) == uri
        assert f"MLflow at {uri} does not answer: no answer within 1 s; the job goes on without it" in caplog.text
    assert tracking.open_store(tmp_path, uri) == uri
    assert "Connection refused" in caplog.text


def test_a_server_of_something_else_is_told_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as uri, pytest.raises(InputError, match=rf"the MLflow store {uri} cannot be used: .* 501"):
        tracking.open_store(tmp_path, uri)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
