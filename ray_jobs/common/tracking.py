"""MLflow runs: opened by the driver, written by the training process of rank 0, closed by the driver.

The store is a local sqlite file unless a tracking URI is given. A run is found again by the output that it wrote to, so
that a restarted job goes on in the same run.
"""

import hashlib
import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Protocol
from unittest.mock import patch
from urllib.parse import unquote

import mlflow
import ray
from mlflow import MlflowClient

from motion.errors import InputError
from motion.parquet import resolve
from ray_jobs.common.cli import Config
from ray_jobs.common.places import check_seen, place

OUTPUT_TAG, KEY_TAG = "carescene.output", "carescene.output_sha256"
SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(.+)")
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
ANSWER_S = 15.0


def local_folder(output: str | Path) -> Path:
    """Return where the store of an output without a tracking URI lies: in its folder; for a URI, in the current folder.

    Raises InputError for a URI in a submitted job, which stands in no folder of the user's.
    """
    if "://" not in str(output):
        return Path(output).absolute()
    what = f"the MLflow store of {output}, without --tracking-uri a file in the current folder,"
    return Path(place("mlflow.db", what, written=True)).parent


def local_store(folder: str | Path) -> str:
    """Return the URI of the sqlite store in `folder`, which is created; raises InputError where that cannot be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error
    return sqlite_uri(Path(folder).absolute() / "mlflow.db")


def sqlite_uri(file: Path) -> str:
    """Return the URI by which SQLAlchemy and MLflow find a sqlite file, whatever characters its path has."""
    quoted = re.sub(r"[%?#]", lambda found: f"%{ord(found[0]):02X}", str(file))
    # Where the path had to be quoted MLflow would make a folder of that name, if it knew the URI for sqlite's.
    return f"sqlite:///{quoted}" if quoted == str(file) else f"sqlite+pysqlite:///{quoted}"


def open_store(output: str | Path, tracking_uri: str | None) -> str:
    """Return the store's URI, the one given or that of `local_folder(output)`, after a look whether it can be used.

    Raises InputError within some 20 s for a server that does not answer and for a file that MLflow cannot use.
    """
    store = tracking_uri or local_store(local_folder(output))
    found = SQLITE.fullmatch(store)
    if store.startswith("sqlite") and (not found or "?" in found[1] or found[1] == ":memory:"):
        raise InputError(
            f"the MLflow store is {store}, expected sqlite:///FILE without options, which all processes see"
        )
    if found:
        file = Path(place(unquote(found[1]), "--tracking-uri", written=True))
        store = sqlite_uri(file)
        if ray.is_initialized():
            check_seen(str(file.parent))
    try:
        if found:
            sqlite3.connect(file).execute("pragma schema_version")  # MLflow tries for minutes to open what it cannot
        _ask(store)
    except Exception as error:  # each kind of store fails in ways of its own
        raise InputError(f"the MLflow store {store} cannot be used: {_reason(error, store)}") from error
    return store


def _ask(store: str) -> None:
    """Ask the store anything; raises what it raises, or TimeoutError for one that answers too slowly."""
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            MlflowClient(store).search_experiments(max_results=1)
        except BaseException as error:
            failures.append(error)

    with patch.dict(os.environ, IMPATIENT):
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(ANSWER_S)
    if asking.is_alive():
        raise TimeoutError(f"no answer within {ANSWER_S:g} s")
    if failures:
        raise failures[0]


def _reason(error: Exception, store: str) -> str:
    reason = " ".join(str(error).split())
    if "out-of-date database schema" in reason:
        return f"another version of MLflow made it; keep a copy and run `mlflow db upgrade {store}`"
    return reason[:600]


class Tracked(Config, Protocol):
    """Configuration of a job that is tracked: any dataclass with these fields."""

    @property
    def output(self) -> str:
        """Folder or URI that the job writes to."""

    @property
    def experiment(self) -> str:
        """MLflow experiment of the run."""


def start_run(store: str, config: Tracked) -> str:
    """Open the run of a job's output in the store and return its id."""
    artifacts = local_folder(config.output) / "mlartifacts"
    return open_run(store, config.experiment, config.output, artifacts, asdict(config))


def find_run(tracking_uri: str, experiment: str, output: str) -> str | None:
    """Find the id of the run that wrote to `output`; None without one."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    tagged = f"tags.`{KEY_TAG}` = '{_key(output)}'"
    runs = client.search_runs([found.experiment_id], filter_string=tagged, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _key(output: str) -> str:
    """Hash an output, whose own characters a search would trip over."""
    return hashlib.sha256(output.encode()).hexdigest()


def open_run(tracking_uri: str, experiment: str, output: str, artifacts: Path, params: Mapping[str, object]) -> str:
    """Reopen the run that wrote to `output` before, or create one with these settings; return its id.

    `artifacts` is the folder of a new experiment's files, unless a server keeps them.
    """
    client = MlflowClient(tracking_uri)
    if run_id := find_run(tracking_uri, experiment, output):
        client.update_run(run_id, status="RUNNING")
        return run_id
    found = client.get_experiment_by_name(experiment)
    location = None if tracking_uri.startswith(("http://", "https://")) else artifacts.absolute().as_uri()
    experiment_id = found.experiment_id if found else client.create_experiment(experiment, artifact_location=location)
    _, path = resolve(output)
    tags = {OUTPUT_TAG: output, KEY_TAG: _key(output), "mlflow.runName": path.rstrip("/").rpartition("/")[2]}
    run = client.create_run(experiment_id, tags=tags)
    for name, value in flatten(params).items():
        client.log_param(run.info.run_id, name, value)
    return str(run.info.run_id)


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested settings to MLflow's parameters: `recipe.denoiser.width`."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


@contextmanager
def closing(tracking_uri: str, run_id: str) -> Iterator[MlflowClient]:
    """Mark the run FINISHED at the end, FAILED on an error."""
    client = MlflowClient(tracking_uri)
    try:
        yield client
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")


def log_metrics(tracking_uri: str, run_id: str, step: int, metrics: Mapping[str, float]) -> None:
    """Log metrics of one step."""
    client = MlflowClient(tracking_uri)
    now = mlflow.utils.time.get_current_time_millis()
    entities = [mlflow.entities.Metric(name, value, now, step) for name, value in metrics.items()]
    client.log_batch(run_id, metrics=entities)


def loss_curve(tracking_uri: str, run_id: str, name: str = "loss") -> list[tuple[int, float]]:
    """Read a metric as (step, value) pairs in order."""
    history = MlflowClient(tracking_uri).get_metric_history(run_id, name)
    return sorted({metric.step: metric.value for metric in history}.items())
