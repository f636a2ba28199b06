"""MLflow stores and the runs in them, which `ray_jobs.common.tracker` writes.

The store is a local sqlite file unless a tracking URI is given. A run is found again by the output that it wrote to, so
that a restarted job goes on in the same run.
"""

import hashlib
import logging
import os
import re
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol
from unittest.mock import patch
from urllib.parse import unquote

import ray
from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.exceptions import MlflowException

from motion.errors import InputError
from motion.parquet import resolve
from ray_jobs.common import storage
from ray_jobs.common.cli import Config
from ray_jobs.common.places import check_seen, place

OUTPUT_TAG, KEY_TAG, TRAINING_TAG = "carescene.output", "carescene.output_sha256", "carescene.training"
TRAINING_FILE = "training.id"
"""File of an output that tells its training from an earlier one of the same output, which was deleted."""
SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///(.+)")
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
ANSWER_S = 15.0
TRANSIENT = (429, 500, 502, 503, 504)
"""HTTP statuses of a server that may answer later; MLflow's client says 500 where nobody listens."""
PARAMS_AT_ONCE = 100
"""Parameters that MLflow takes in one request."""

logger = logging.getLogger(__name__)


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

    A server that is away is only warned of, as it may come back. Raises InputError within some 20 s for a file that
    MLflow cannot use and for an address of something else.
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
        if not (is_server(store) and _may_pass(error)):
            raise InputError(f"the MLflow store {store} cannot be used: {reason(error, store)}") from error
        logger.warning("MLflow at %s does not answer: %s; the job goes on without it", store, reason(error, store))
    return store


def is_server(store: str) -> bool:
    """Tell whether a store is a server's."""
    return store.startswith(("http://", "https://"))


def _may_pass(error: Exception) -> bool:
    """Tell whether a server may answer later: not where it is none of MLflow's, or refuses the caller."""
    return not isinstance(error, MlflowException) or error.get_http_status_code() in TRANSIENT


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


def reason(error: Exception, store: str) -> str:
    """Say in one line why a store failed."""
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

    @property
    def tracking_uri(self) -> str | None:
        """MLflow store; None for a sqlite file in the output folder."""


def start_run(store: str, config: Tracked, training: str | None = None) -> str:
    """Open the run of a job's output in the store, or of one training there (`training_id`), and return its id."""
    file = SQLITE.fullmatch(store)  # its files lie beside it; a server keeps those of its runs
    artifacts = Path(unquote(file[1])).parent / "mlartifacts" if file else None
    return open_run(store, config.experiment, config.output, artifacts, asdict(config), training)


def training_id(output: str) -> str:
    """Return the id of the training in an output; the first call draws it."""
    file = storage.join(output, TRAINING_FILE)
    if not storage.exists(file):
        storage.write_bytes(file, uuid.uuid4().hex.encode())
    return storage.read_bytes(file).decode()


def find_run(tracking_uri: str, experiment: str, output: str, training: str | None = None) -> str | None:
    """Find the id of the last run that wrote to `output`, or of one training there; None without one."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    tagged = f"tags.`{KEY_TAG}` = '{_key(output)}'" + (f" and tags.`{TRAINING_TAG}` = '{training}'" if training else "")
    runs = client.search_runs([found.experiment_id], filter_string=tagged, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def _key(output: str) -> str:
    """Hash an output, whose own characters a search would trip over."""
    return hashlib.sha256(output.encode()).hexdigest()


def open_run(
    store: str,
    experiment: str,
    output: str,
    artifacts: Path | None,
    params: Mapping[str, object],
    training: str | None = None,
) -> str:
    """Reopen the run that wrote to `output` before, or create one with these settings; return its id.

    `artifacts` is the folder of a new experiment's files; None where a server keeps them. With `training` the run is
    that of this training alone.
    """
    client = MlflowClient(store)
    run_id = find_run(store, experiment, output, training)
    if run_id is None:
        found = client.get_experiment_by_name(experiment)
        location = artifacts.absolute().as_uri() if artifacts else None
        experiment_id = found.experiment_id if found else client.create_experiment(experiment, location)
        _, path = resolve(output)
        tags = {OUTPUT_TAG: output, KEY_TAG: _key(output), "mlflow.runName": path.rstrip("/").rpartition("/")[2]}
        tags |= {TRAINING_TAG: training} if training else {}
        run_id = str(client.create_run(experiment_id, tags=tags).info.run_id)
    client.update_run(run_id, status="RUNNING")
    there = client.get_run(run_id).data.params  # not all, where the store went away meanwhile
    missing = [Param(name, str(value)) for name, value in flatten(params).items() if name not in there]
    for start in range(0, len(missing), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=missing[start : start + PARAMS_AT_ONCE])
    return run_id


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Flatten nested settings to MLflow's parameters: `recipe.denoiser.width`."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def loss_curve(tracking_uri: str, run_id: str, name: str = "loss") -> list[tuple[int, float]]:
    """Read a metric as (step, value) pairs in order."""
    history = MlflowClient(tracking_uri).get_metric_history(run_id, name)
    return sorted({metric.step: metric.value for metric in history}.items())
