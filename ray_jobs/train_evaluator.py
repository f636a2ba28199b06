"""Train the text–motion evaluator that generated motions are judged with, tracked by MLflow.

    python -m ray_jobs.train_evaluator --data data/all --output runs/evaluator

Learns from the captioned clips of the train split, then says how well it finds the clips of the test split by their
captions. Run again with the same arguments it goes on from its last checkpoint, or does nothing when it has finished.
Leaves evaluator.safetensors and config.yaml in the output folder. Numbers of two evaluators cannot be compared: each
evaluation names the version (the start of the file's sha256) of the one it used.
"""

import logging
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import ray.train
import torch
from ray.experimental import tqdm_ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from torch import Tensor

from motion.errors import InputError
from motion.evaluator import (
    EVALUATOR_FILE,
    Batch,
    Encoded,
    Evaluator,
    EvaluatorConfig,
    EvaluatorNetwork,
    contrastive_loss,
    evaluator_bytes,
    training_batch,
)
from motion.sequence import MotionSequence, from_table
from motion.text import load_text_encoder
from ray_jobs import config, storage, tracking
from ray_jobs.train import SHUFFLED_BATCHES

STATE_FILE = "state.pt"
ENCODED = pa.schema(
    {
        "texts": pa.list_(pa.string()),
        "num_persons": pa.int32(),
        "valid": pa.list_(pa.bool_()),
        "features": pa.list_(pa.float32()),
    }
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainEvaluatorConfig:
    data: str
    """Output folder or URI of `ray_jobs.prepare`, with captions."""
    output: Path
    """Folder for checkpoints and the evaluator; shared by all nodes."""
    network: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    steps: int = 2000
    batch_size: int = 64
    """Each caption is compared with so many motions; one worker trains, because they have to be in one place."""
    learning_rate: float = 5e-4
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
    experiment: str = "carescene-evaluator"

    def __post_init__(self) -> None:
        if min(self.steps, self.log_every, self.checkpoint_every) < 1 or self.batch_size < 2:
            raise InputError("steps, log_every and checkpoint_every must be positive and batch_size at least 2")


def train_evaluator(config_: TrainEvaluatorConfig) -> Path:
    """Train to the last step and return the path of the evaluator."""
    check_inputs(config_)
    output = config_.output.absolute()
    evaluator = output / EVALUATOR_FILE
    config.refuse_other_run(output / "config.yaml", config_)
    if evaluator.exists():
        logger.info("%s is finished, nothing to do", evaluator)
        return evaluator
    storage.write_bytes(str(output / "config.yaml"), config.to_yaml(config_).encode())
    store = config_.tracking_uri or tracking.local_store(output)
    run_id = tracking.open_run(store, config_.experiment, str(output), output / "mlartifacts", asdict(config_))
    with tracking.closing(store, run_id):
        result = make_trainer(config_, store, run_id).fit()
        if result.checkpoint is None:
            raise RuntimeError("training ended without a checkpoint")
        with result.checkpoint.as_directory() as folder:
            storage.write_bytes(str(evaluator), (Path(folder) / EVALUATOR_FILE).read_bytes())
    logger.info("evaluator %s in %s", Evaluator.load(evaluator).version, evaluator)
    return evaluator


def check_inputs(config_: TrainEvaluatorConfig) -> None:
    rows = storage.read_rows(storage.join(config_.data, "motions"), ("split", "texts", "fps"))
    rates = {fps for split, texts, fps in rows if split == "train" and texts}
    captioned = sum(split == "train" and bool(texts) for split, texts, _ in rows)
    if captioned < config_.batch_size:
        raise InputError(
            f"{config_.data} holds {captioned} captioned clips of the train split, less than one batch of "
            f"{config_.batch_size}; lower --batch-size"
        )
    if rates != {config_.network.fps}:
        raise InputError(
            f"{config_.data} has {', '.join(f'{rate:g}' for rate in sorted(rates))} frames per second, "
            f"network.fps is {config_.network.fps:g}: make them agree"
        )
    dim = load_text_encoder(config_.network.text_encoder).dim
    if dim != config_.network.text_dim:
        raise InputError(f"{config_.network.text_encoder} gives {dim} numbers, text_dim is {config_.network.text_dim}")


def make_trainer(config_: TrainEvaluatorConfig, store: str, run_id: str) -> TorchTrainer:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # the same seed, the same batches
    context.enable_progress_bars = False  # the steps' own bar tells more
    motions = ray.data.read_parquet(storage.join(config_.data, "motions"), file_extensions=["parquet"])
    # Worked out once: an epoch reads rows of 148 numbers a frame, not whole records.
    dataset = motions.map_batches(encode_captioned, batch_format="pyarrow", batch_size=None).materialize()
    return TorchTrainer(
        train_loop,
        train_loop_config={
            "config": config_,
            "show_bar": sys.stderr.isatty(),
            "store": store,
            "run_id": run_id,
        },
        scaling_config=ScalingConfig(
            num_workers=1,
            use_gpu=config_.use_gpu,
            resources_per_worker={"CPU": config_.num_cpus, "GPU": int(config_.use_gpu)},
        ),
        datasets={"train": dataset},
        run_config=RunConfig(
            name="train",
            storage_path=str(config_.output.absolute()),
            failure_config=FailureConfig(max_failures=config_.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )


def encode_captioned(table: pa.Table) -> pa.Table:
    """What the network sees of the captioned clips of the train split."""
    clips = storage.of_split(table, "train")
    clips = clips.filter(pc.greater(pc.list_value_length(clips["texts"]), 0))
    rows = []
    for motion in from_table(MotionSequence, clips):
        encoded = Encoded.of(motion)
        rows.append(
            {
                "texts": motion.texts,
                "num_persons": motion.num_persons,
                "valid": encoded.valid.ravel(),
                "features": encoded.features.ravel(),
            }
        )
    return pa.Table.from_pylist(rows, schema=ENCODED)


def decode_rows(table: pa.Table) -> tuple[list[Encoded], list[list[str]]]:
    """Motions and their captions, back from `encode_captioned`."""
    motions = []
    for persons, *columns in zip(*(table[name] for name in ("num_persons", "valid", "features")), strict=True):
        valid, features = (np.array(column.values.to_numpy(zero_copy_only=False)) for column in columns)
        valid = valid.reshape(persons.as_py(), -1)
        motions.append(Encoded(features.reshape(*valid.shape, -1), valid))
    return motions, table["texts"].to_pylist()


def train_loop(loop: dict[str, Any]) -> None:
    config_: TrainEvaluatorConfig = loop["config"]
    torch.manual_seed(config_.seed)
    device = get_device()
    network = EvaluatorNetwork(config_.network).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), config_.learning_rate, weight_decay=config_.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config_.learning_rate, total_steps=config_.steps, pct_start=0.1
    )
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    step = resume(parts)
    torch.manual_seed(config_.seed + step)  # dropout after a resume is not that of the start again
    bar = tqdm_ray.tqdm(total=config_.steps, desc="train") if loop["show_bar"] else None
    if bar is not None:
        bar.update(step)
    losses: list[float] = []
    for batch, vectors, same in batches(config_, device, config_.seed + step):
        loss = contrastive_loss(network.embed_text(vectors), network.embed_motion(batch), same, network.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
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
            report_checkpoint(parts, step)
        if last:
            break
    if bar is not None:
        bar.close()


def batches(config_: TrainEvaluatorConfig, device: torch.device, seed: int) -> Iterator[tuple[Batch, Tensor, Tensor]]:
    """Endless motions, vectors of their captions, and which of these captions are the same."""
    shard = ray.train.get_dataset_shard("train")
    encode_text = load_text_encoder(config_.network.text_encoder)
    rng = np.random.default_rng(seed)
    for epoch in count():
        for table in shard.iter_batches(
            batch_size=config_.batch_size,
            batch_format="pyarrow",
            drop_last=True,
            local_shuffle_buffer_size=SHUFFLED_BATCHES * config_.batch_size,
            local_shuffle_seed=seed + epoch,
        ):
            batch, texts = training_batch(*decode_rows(table), config_.network.max_frames, rng)
            _, names = np.unique(texts, return_inverse=True)
            same = torch.from_numpy(names[:, None] == names)
            yield batch.to(device), encode_text(texts).to(device), same.to(device)


def resume(parts: dict[str, Any]) -> int:
    """Load the last checkpoint, if there is one, and return the step it was taken at."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / STATE_FILE, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return int(state["step"])


def report_checkpoint(parts: dict[str, Any], step: int) -> None:
    """The state for resuming, and beside it the evaluator for using."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save(
            {name: part.state_dict() for name, part in parts.items()} | {"step": step}, Path(folder) / STATE_FILE
        )
        (Path(folder) / EVALUATOR_FILE).write_bytes(evaluator_bytes(parts["network"]))
        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{step:07d}",
        )


if __name__ == "__main__":
    config.run(train_evaluator, TrainEvaluatorConfig, __doc__ or "")
