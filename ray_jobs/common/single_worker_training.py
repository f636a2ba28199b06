"""Training of a small network on one Ray worker, tracked by MLflow: shared by the evaluator and the classifier.

Run again with the same arguments a job goes on from its last checkpoint, or does nothing when it has finished.
"""

import logging
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import ray.data
import ray.train
import torch
from ray.experimental import tqdm_ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from torch import Tensor, nn

from motion.errors.numbers import SEED, above, at_least, check_numbers
from motion.evaluator.classifier_training import one_cycle
from motion.parquet import resolve
from ray_jobs.common import cli, storage
from ray_jobs.common.places import check_seen, settle
from ray_jobs.common.resources import WORKER_CPUS, check_resources
from ray_jobs.common.tracker import UNSENT_FILE, Tracker, read_unsent, send_rest, tracked

STATE_FILE = "state.pt"
SHUFFLED_BATCHES = 16  # how many batches are drawn from at random
RANGES = {
    **dict.fromkeys(("steps", "log_every", "checkpoint_every"), at_least(1)),
    "batch_size": at_least(2),
    "learning_rate": above(0),
    **dict.fromkeys(("weight_decay", "max_failures"), at_least(0)),
    "num_cpus": WORKER_CPUS,
    "seed": SEED,
}
"""Ranges of the numbers of a SingleWorkerConfig."""
Network = TypeVar("Network", bound=nn.Module)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SingleWorkerConfig:
    """Settings that the jobs with one training worker share."""

    data: str
    """Output folder or URI of `ray_jobs.prepare`."""
    output: str
    """Folder or URI (s3://…) for checkpoints and the trained network; every node must see it."""
    steps: int = 2000
    """Number of optimiser steps."""
    batch_size: int
    """Clips in each step, 2 or more."""
    learning_rate: float
    """Highest learning rate, reached after a tenth of the steps; it falls to nearly zero."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW."""
    use_gpu: bool = False
    """Train on one GPU instead of CPUs."""
    num_cpus: float = 2
    """CPUs of the training worker, which takes as many threads."""
    log_every: int = 20
    """Steps between two logged losses, each the mean since the last."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    seed: int = 0
    """Seed of weights, batches and dropout."""
    max_failures: int = 2
    """Number of times that a lost worker is replaced; training goes on from the last checkpoint."""
    tracking_uri: str | None = None
    """MLflow store, such as http://host:5000; by default a sqlite file in the output folder."""
    experiment: str
    """MLflow experiment that the run is logged to."""

    def __post_init__(self) -> None:
        check_numbers(self, RANGES)
        settle(self, "data")


class Task(ABC, Generic[Network]):
    """Part of a training that is one job's own; it travels to the worker."""

    config: SingleWorkerConfig
    file_name: str

    @abstractmethod
    def dataset(self) -> ray.data.Dataset:
        """Build the data set that an epoch reads."""

    @abstractmethod
    def network(self) -> Network:
        """Build a freshly initialised network."""

    @abstractmethod
    def losses(self, network: Network, device: torch.device, seed: int) -> Iterator[Tensor]:
        """Yield losses without end, one for each step, from batches of `tables`."""

    @abstractmethod
    def file(self, network: Network) -> bytes:
        """Serialise the trained network."""

    def tested(self, file: Path) -> dict[str, float]:
        """Compute metrics of the trained network, which are logged; none by default."""
        return {}


class Stateful(Protocol):
    """Part of a training that a checkpoint holds: network, optimiser or schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a checkpoint stores."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Take over the state of a checkpoint."""


@dataclass(frozen=True)
class Loop(Generic[Network]):
    """Settings of the training loop, as the driver hands them to the worker."""

    task: Task[Network]
    store: str
    """URI of the MLflow store."""
    show_bar: bool
    """True shows a progress bar; False logs a line instead."""


def train(task: Task[Any]) -> str:
    """Train to the last step and return where the trained network lies; raises InputError for another run's output."""
    config = task.config
    output = config.output
    file = storage.join(output, task.file_name)
    cli.refuse_other_run(output, config)
    if storage.exists(file):
        logger.info("%s is finished, nothing to do", file)
        send_rest(config)
        return file
    check_seen(config.data)
    worker = {"CPU": config.num_cpus, "GPU": float(config.use_gpu)}
    check_resources("training", "--num-cpus", (1, worker))
    with tracked(config, training=True) as tracker:
        cli.write_config(config, output)
        result = make_trainer(task, tracker.store).fit()
        if result.checkpoint is None:
            raise RuntimeError("training ended without a checkpoint")
        with result.checkpoint.as_directory() as folder:
            tracker.take(read_unsent(folder))
            trained = Path(folder) / task.file_name
            metrics = task.tested(trained)
            tracker.log(config.steps, metrics)
            storage.write_bytes(file, trained.read_bytes())  # last: it says that all is done
    logger.info("%s", "; ".join([file, *(f"{name} {value:.3f}" for name, value in metrics.items())]))
    return file


def make_trainer(task: Task[Any], store: str) -> TorchTrainer:
    """Build Ray's trainer: one worker, the task's data set, checkpoints in the output folder."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # the same seed, the same batches
    context.enable_progress_bars = False  # the steps' own bar tells more
    config = task.config
    filesystem, path = resolve(config.output)
    return TorchTrainer(
        partial(train_loop, Loop(task, store, show_bar=sys.stderr.isatty())),
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.num_cpus, "GPU": int(config.use_gpu)},
        ),
        datasets={"train": task.dataset().materialize()},  # worked out once: epochs do not read whole records
        run_config=RunConfig(
            name="train",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )


def train_loop(loop: Loop[Any]) -> None:
    """Train on the worker, from the last checkpoint on; report a checkpoint and log the loss at their intervals."""
    task, config = loop.task, loop.task.config
    torch.manual_seed(config.seed)
    device = get_device()
    network = task.network().to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    rates = one_cycle(optimizer, config.learning_rate, config.steps)
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "schedule": rates}
    tracker = Tracker(loop.store, config, training=True)
    step = resume(parts, tracker)
    if step == config.steps:  # the driver was lost after the last checkpoint
        return
    torch.manual_seed(config.seed + step)  # dropout after a resume is not that of the start again
    bar = tqdm_ray.tqdm(total=config.steps, desc="train") if loop.show_bar else None
    if bar is not None:
        bar.update(step)
    losses: list[float] = []
    for loss in task.losses(network, device, config.seed + step):
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rates.step()
        step += 1
        losses.append(loss.item())
        last = step == config.steps
        if bar is not None:
            bar.update(1)
        if last or step % config.log_every == 0:
            metrics = {"loss": float(np.mean(losses)), "lr": optimizer.param_groups[0]["lr"]}
            tracker.log(step, metrics)
            losses.clear()
            if bar is None:
                logger.info("step %d of %d, loss %.4f", step, config.steps, metrics["loss"])
        if last or step % config.checkpoint_every == 0:
            unsent = tracker.close() if last else tracker.unsent()
            files = {task.file_name: task.file(network), UNSENT_FILE: unsent.to_json()}
            report_checkpoint(parts, step, files)
        if last:
            break
    if bar is not None:
        bar.close()


def tables(batch_size: int, seed: int) -> Iterator[pa.Table]:
    """Yield batches of rows without end, in another order in each epoch."""
    shard = ray.train.get_dataset_shard("train")
    for epoch in count():
        yield from shard.iter_batches(
            batch_size=batch_size,
            batch_format="pyarrow",
            drop_last=True,
            local_shuffle_buffer_size=SHUFFLED_BATCHES * batch_size,
            local_shuffle_seed=seed + epoch,
        )


def resume(parts: Mapping[str, Stateful], tracker: Tracker) -> int:
    """Load the last checkpoint, if there is one, and return the step it was taken at."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / STATE_FILE, weights_only=True)
        tracker.take(read_unsent(folder))
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def report_checkpoint(parts: Mapping[str, Stateful], step: int, files: Mapping[str, bytes]) -> None:
    """Report a checkpoint: the state for resuming, and beside it files: the network, and what MLflow has not taken."""
    with tempfile.TemporaryDirectory() as folder:
        state = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
        torch.save(state, Path(folder) / STATE_FILE)
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{step:07d}",
        )
