"""Train the classifier of actions that guidance follows (thesis eq. 2.20), tracked by MLflow.

    python -m ray_jobs.train_classifier --data data/rooms --output runs/classifier

`--data` is the folder that the model to be guided learns from, as both must see the same normalised features. Learns
the actions that the train split holds from noisy features at all steps of the schedule, then says what share of the
test split's persons it tells right at several noise levels, beside the share of the commonest action. Run again with
the same arguments it goes on from its last checkpoint, or does nothing when it has finished. Leaves
classifier.safetensors and config.yaml in the output folder.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import ray.train
import torch
from ray.experimental import tqdm_ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from motion.classifier import (
    BATCH,
    CLASSIFIER_FILE,
    ActionClassifier,
    Batch,
    Classifier,
    ClassifierConfig,
    Example,
    action_labels,
    classifier_bytes,
    classifier_loss,
    load_classifier,
    num_right,
    training_batch,
    training_step,
)
from motion.diffusion import ScheduleName, make_schedule
from motion.errors import InputError
from motion.features import Normalizer
from motion.sequence import MotionSequence, from_table
from motion.skeleton import ACTIONS
from ray_jobs import config, storage, tracking
from ray_jobs.prepare import read_normalizer
from ray_jobs.train import SHUFFLED_BATCHES
from ray_jobs.train_evaluator import STATE_FILE, resume

NOISE_LEVELS = (0.2, 0.4, 0.6, 0.8)  # shares of the schedule's steps
ENCODED = pa.schema(
    {
        "num_persons": pa.int32(),
        "valid": pa.list_(pa.bool_()),
        "labels": pa.list_(pa.int64()),
        "features": pa.list_(pa.float32()),
    }
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainClassifierConfig:
    data: str
    """Output folder or URI of `ray_jobs.prepare`, with actions."""
    output: Path
    """Folder for checkpoints and the classifier; shared by all nodes."""
    network: ClassifierConfig = field(default_factory=ClassifierConfig)
    """Those of its classes that the train split lacks are left out."""
    schedule: ScheduleName = "cosine"
    """This and the next are the model's."""
    num_steps: int = 1000
    max_frames: int = 100
    """Of a longer clip a random stretch is shown."""
    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 1e-3
    """At its highest, after a tenth of the steps; it falls to nearly zero."""
    weight_decay: float = 0.01
    use_gpu: bool = False
    num_cpus: float = 2
    """Of the training worker, which takes as many threads."""
    log_every: int = 20
    checkpoint_every: int = 500
    seed: int = 0
    max_failures: int = 2
    """How often a lost worker is replaced; training goes on from the last checkpoint."""
    tracking_uri: str | None = None
    """MLflow store; by default a sqlite file in the output folder."""
    experiment: str = "carescene-classifier"

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch_size, self.num_steps, self.max_frames, self.log_every, self.checkpoint_every)
        if min(counts) < 1:
            raise InputError(
                "steps, batch_size, num_steps, max_frames, log_every and checkpoint_every must be positive"
            )


@dataclass(frozen=True)
class Inputs:
    """What a run reads, checked before anything is written."""

    normalizer: Normalizer
    network: ClassifierConfig


def train_classifier(config_: TrainClassifierConfig) -> Path:
    """Train to the last step and return the path of the classifier."""
    inputs = read_inputs(config_)
    output = config_.output.absolute()
    classifier = output / CLASSIFIER_FILE
    config.refuse_other_run(output / "config.yaml", config_)
    if classifier.exists():
        logger.info("%s is finished, nothing to do", classifier)
        return classifier
    storage.write_bytes(str(output / "config.yaml"), config.to_yaml(config_).encode())
    store = config_.tracking_uri or tracking.local_store(output)
    run_id = tracking.open_run(store, config_.experiment, str(output), output / "mlartifacts", asdict(config_))
    with tracking.closing(store, run_id):
        result = make_trainer(config_, inputs, store, run_id).fit()
        if result.checkpoint is None:
            raise RuntimeError("training ended without a checkpoint")
        with result.checkpoint.as_directory() as folder:
            trained = Path(folder) / CLASSIFIER_FILE
            metrics = tested(load_classifier(trained), config_)
            tracking.log_metrics(store, run_id, config_.steps, metrics)
            storage.write_bytes(str(classifier), trained.read_bytes())  # last: it says that all is done
    logger.info("%s; %s", classifier, ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()))
    return classifier


def read_inputs(config_: TrainClassifierConfig) -> Inputs:
    asked = config_.network.names
    if unknown := sorted(set(asked) - set(ACTIONS[1:])):
        raise InputError(f"network.names has {unknown[0]!r}, expected some of {', '.join(ACTIONS[1:])}")
    rows = storage.read_rows(storage.join(config_.data, "motions"), ("split", "action"))
    clips = [{ACTIONS[code] for code in set(codes)}.intersection(asked) for split, codes in rows if split == "train"]
    names = tuple(name for name in asked if any(name in clip for clip in clips))
    if len(names) < 2:
        raise InputError(
            f"the train split of {config_.data} holds {', '.join(names) or 'none'} of the actions "
            f"{', '.join(asked)}, expected at least two"
        )
    labelled = sum(bool(clip) for clip in clips)
    if labelled < config_.batch_size:
        raise InputError(
            f"{config_.data} holds {labelled} clips of the train split with these actions, less than one batch of "
            f"{config_.batch_size}; lower --batch-size"
        )
    return Inputs(read_normalizer(config_.data), replace(config_.network, names=names))


def make_trainer(config_: TrainClassifierConfig, inputs: Inputs, store: str, run_id: str) -> TorchTrainer:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # the same seed, the same batches
    context.enable_progress_bars = False  # the steps' own bar tells more
    return TorchTrainer(
        train_loop,
        train_loop_config={
            "config": config_,
            "inputs": inputs,
            "show_bar": sys.stderr.isatty(),
            "store": store,
            "run_id": run_id,
        },
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=config_.use_gpu,
            resources_per_worker={"CPU": config_.num_cpus, "GPU": int(config_.use_gpu)},
        ),
        # Worked out once: an epoch reads features, not whole records.
        datasets={"train": encoded(config_.data, "train", inputs.network.names).materialize()},
        run_config=RunConfig(
            name="train",
            storage_path=str(config_.output.absolute()),
            failure_config=FailureConfig(max_failures=config_.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )


def encoded(data: str, split: str, names: tuple[str, ...]) -> ray.data.Dataset:
    motions = ray.data.read_parquet(storage.join(data, "motions"), file_extensions=["parquet"])
    encode = partial(encode_labelled, split=split, names=names)
    return motions.map_batches(encode, batch_format="pyarrow", batch_size=None)


def encode_labelled(table: pa.Table, split: str, names: tuple[str, ...]) -> pa.Table:
    """Features and frames' labels of the clips of a split in which somebody has a label."""
    rows = []
    for motion in from_table(MotionSequence, storage.of_split(table, split)):
        example = Example.of(motion, action_labels(motion, names))
        if bool((example.labels >= 0).any()):
            columns = {name: value.flatten().numpy() for name, value in vars(example).items()}
            rows.append({"num_persons": motion.num_persons, **columns})
    return pa.Table.from_pylist(rows, schema=ENCODED)


def decode_rows(table: pa.Table) -> list[Example]:
    """Back from `encode_labelled`."""
    examples = []
    columns = (table[name] for name in ENCODED.names)
    for persons, *values in zip(*columns, strict=True):
        flat = [torch.from_numpy(np.array(value.values.to_numpy(zero_copy_only=False))) for value in values]
        valid, labels = (value.view(persons.as_py(), -1) for value in flat[:2])
        examples.append(Example(flat[2].view(*valid.shape, -1), valid, labels))
    return examples


def train_loop(loop: dict[str, Any]) -> None:
    config_: TrainClassifierConfig = loop["config"]
    inputs: Inputs = loop["inputs"]
    torch.manual_seed(config_.seed)
    device = get_device()
    network = ActionClassifier(inputs.network).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), config_.learning_rate, weight_decay=config_.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config_.learning_rate, total_steps=config_.steps, pct_start=0.1
    )
    parts = {"network": network, "optimizer": optimizer, "schedule": rates}
    step = resume(parts)
    if step == config_.steps:  # the driver was lost after the last checkpoint
        return
    torch.manual_seed(config_.seed + step)  # dropout after a resume is not that of the start again
    generator = torch.Generator().manual_seed(config_.seed + step)
    schedule = make_schedule(config_.schedule, config_.num_steps).to(device)
    bar = tqdm_ray.tqdm(total=config_.steps, desc="train") if loop["show_bar"] else None
    if bar is not None:
        bar.update(step)
    losses: list[float] = []
    for batch in batches(config_, inputs.normalizer, config_.seed + step):
        batch = batch.to(device)
        loss = classifier_loss(network, schedule, batch.x0, batch.valid, batch.labels, generator)
        training_step(network, optimizer, rates, loss)
        step += 1
        losses.append(loss.item())
        last = step == config_.steps
        if bar is not None:
            bar.update(1)
        if last or step % config_.log_every == 0:
            metrics = {"loss": float(np.mean(losses)), "lr": optimizer.param_groups[0]["lr"]}
            tracking.log_metrics(loop["store"], loop["run_id"], step, metrics)
            losses.clear()
            if bar is None:
                logger.info("step %d of %d, loss %.4f", step, config_.steps, metrics["loss"])
        if last or step % config_.checkpoint_every == 0:
            trained = classifier_bytes(network, inputs.normalizer, config_.schedule, config_.num_steps)
            report_checkpoint(parts, step, trained)
        if last:
            break
    if bar is not None:
        bar.close()


def batches(config_: TrainClassifierConfig, normalizer: Normalizer, seed: int) -> Iterator[Batch]:
    """Endless batches of random stretches."""
    shard = ray.train.get_dataset_shard("train")
    rng = np.random.default_rng(seed)
    for epoch in count():
        for table in shard.iter_batches(
            batch_size=config_.batch_size,
            batch_format="pyarrow",
            drop_last=True,
            local_shuffle_buffer_size=SHUFFLED_BATCHES * config_.batch_size,
            local_shuffle_seed=seed + epoch,
        ):
            yield training_batch(decode_rows(table), normalizer, config_.max_frames, rng)


def report_checkpoint(parts: dict[str, Any], step: int, classifier: bytes) -> None:
    """The state for resuming, and beside it the classifier for using."""
    with tempfile.TemporaryDirectory() as folder:
        state = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
        torch.save(state, Path(folder) / STATE_FILE)
        (Path(folder) / CLASSIFIER_FILE).write_bytes(classifier)
        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{step:07d}",
        )


def tested(classifier: Classifier, config_: TrainClassifierConfig) -> dict[str, float]:
    """Shares of the test split's labelled persons: told right at each noise level, and of the commonest action."""
    schedule, generator = make_schedule(classifier.schedule, classifier.num_steps), torch.Generator()
    generator.manual_seed(config_.seed)
    levels = {"test_accuracy": None} | {
        f"test_accuracy_t{round(share * classifier.num_steps)}": round(share * classifier.num_steps)
        for share in NOISE_LEVELS
    }
    right, labels = dict.fromkeys(levels, 0), torch.zeros(len(classifier.network.config.names), dtype=torch.long)
    clips = encoded(config_.data, "test", classifier.network.config.names)
    for table in clips.iter_batches(batch_size=BATCH, batch_format="pyarrow"):
        starts = [example.stretch(0, config_.max_frames) for example in decode_rows(table)]
        batch = Batch.of(starts, classifier.normalizer)
        labels += torch.bincount(batch.labels[batch.labels >= 0], minlength=len(labels))
        for name, t in levels.items():
            right[name] += num_right(classifier.network, schedule, batch, t, generator)
    total = int(labels.sum())
    if not total:
        logger.warning("nobody in the test split of %s has a label, so there is no accuracy", config_.data)
        return {}
    return {name: value / total for name, value in right.items()} | {"test_commonest": int(labels.max()) / total}


if __name__ == "__main__":
    config.run(train_classifier, TrainClassifierConfig, __doc__ or "")
