"""MLflow runs: opened by the driver, written by the training process of rank 0, closed by the driver.

The store is a local sqlite file unless a tracking URI is given. A run is found again by the output folder it wrote
to, so that a restarted job goes on in the same run.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient

OUTPUT_TAG = "carescene.output"


def local_store(folder: Path) -> str:
    """Return the URI of the sqlite store in `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder.absolute() / 'mlflow.db'}"


def find_run(tracking_uri: str, experiment: str, output: str) -> str | None:
    """Find the id of the run that wrote to `output`; None without one."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    tagged = f"tags.`{OUTPUT_TAG}` = '{output}'"
    runs = client.search_runs([found.experiment_id], filter_string=tagged, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def open_run(tracking_uri: str, experiment: str, output: str, artifacts: Path, params: Mapping[str, object]) -> str:
    """Reopen the run that wrote to `output` before, or create one with these settings; return its id."""
    client = MlflowClient(tracking_uri)
    if run_id := find_run(tracking_uri, experiment, output):
        client.update_run(run_id, status="RUNNING")
        return run_id
    found = client.get_experiment_by_name(experiment)
    experiment_id = (
        found.experiment_id
        if found
        else client.create_experiment(experiment, artifact_location=artifacts.absolute().as_uri())
    )
    run = client.create_run(experiment_id, tags={OUTPUT_TAG: output, "mlflow.runName": Path(output).name})
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
