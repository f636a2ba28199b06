"""Train the text–motion evaluator that judges generated motions, tracked by MLflow.

    python -m ray_jobs.train_evaluator --data data/all --output runs/evaluator

Learns from the captioned clips of the train split; `ray_jobs.evaluate` measures how well it finds those of the test
split by their captions. Run again with the same arguments it goes on from its last checkpoint, or does nothing when it
has finished. Leaves evaluator.safetensors and config.yaml in the output folder. Numbers of two evaluators cannot be
compared: each evaluation names the version (the start of the file's sha256) of the one it used.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import torch
from torch import Tensor

from motion.errors import InputError
from motion.evaluator import EVALUATOR_FILE, EvaluatorConfig, EvaluatorNetwork, contrastive_loss, evaluator_bytes
from motion.evaluator.contrastive import captioned_batch
from motion.evaluator.motion_features import Encoded
from motion.parquet import from_table
from motion.sequence import MotionSequence
from motion.text import load_text_encoder
from ray_jobs.common import cli, single_worker_training, storage
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import file_place
from ray_jobs.common.prepared_data import check_rate

ENCODED = pa.schema(
    {
        "texts": pa.list_(pa.string()),
        "num_persons": pa.int32(),
        "valid": pa.list_(pa.bool_()),
        "features": pa.list_(pa.float32()),
    }
)


@dataclass(frozen=True, kw_only=True)
class TrainEvaluatorConfig(single_worker_training.SingleWorkerConfig):
    """Settings of the evaluator's training."""

    network: EvaluatorConfig = field(default_factory=EvaluatorConfig)
    """Sizes of the network, frame rate and text encoder."""
    batch_size: int = 64
    """Motions that each caption is compared with; one worker trains, because they have to be in one place."""
    learning_rate: float = 5e-4
    """Highest learning rate, reached after a tenth of the steps; it falls to nearly zero."""
    experiment: str = "carescene-evaluator"
    """MLflow experiment that the run is logged to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        encoder = file_place(self.network.text_encoder, "--network.text-encoder", is_path=False)
        object.__setattr__(self, "network", replace(self.network, text_encoder=encoder))


@writes_output
def train_evaluator(config: TrainEvaluatorConfig) -> str:
    """Train to the last step and return where the evaluator."""
    check_inputs(config)
    return single_worker_training.train(EvaluatorTask(config))


def check_inputs(config: TrainEvaluatorConfig) -> None:
    """Raise InputError for too few captioned clips, another frame rate, or a text encoder of another width."""
    rows = storage.read_rows(storage.join(config.data, "motions"), ("split", "texts", "fps"))
    rates = {fps for split, texts, fps in rows if split == "train" and texts}
    captioned = sum(split == "train" and bool(texts) for split, texts, _ in rows)
    if captioned < config.batch_size:
        raise InputError(
            f"{config.data} holds {captioned} captioned clips of the train split, less than one batch of "
            f"{config.batch_size}; lower --batch-size"
        )
    check_rate(config.data, rates, config.network.fps, "network.fps")
    dim = load_text_encoder(config.network.text_encoder).dim
    if dim != config.network.text_dim:
        raise InputError(f"{config.network.text_encoder} gives {dim} numbers, text_dim is {config.network.text_dim}")


@dataclass(frozen=True)
class EvaluatorTask(single_worker_training.Task[EvaluatorNetwork]):
    """Evaluator's part of the training on one worker."""

    config: TrainEvaluatorConfig
    file_name = EVALUATOR_FILE

    def dataset(self) -> ray.data.Dataset:
        """Read the captioned motions of the data."""
        motions = storage.dataset(storage.join(self.config.data, "motions"))
        return motions.map_batches(encode_captioned, batch_format="pyarrow", batch_size=None)

    def network(self) -> EvaluatorNetwork:
        """Build a freshly initialised network."""
        return EvaluatorNetwork(self.config.network)

    def losses(self, network: EvaluatorNetwork, device: torch.device, seed: int) -> Iterator[Tensor]:
        """Yield the contrastive loss of each batch without end."""
        encode_text, rng = load_text_encoder(self.config.network.text_encoder), np.random.default_rng(seed)
        for table in single_worker_training.tables(self.config.batch_size, seed):
            batch, texts = captioned_batch(*decode_rows(table), self.config.network.max_frames, rng)
            _, names = np.unique(texts, return_inverse=True)
            same = torch.from_numpy(names[:, None] == names).to(device)
            motions, captions = (
                network.embed_motion(batch.to(device)),
                network.embed_text(encode_text(texts).to(device)),
            )
            yield contrastive_loss(captions, motions, same, network.logit_scale)

    def file(self, network: EvaluatorNetwork) -> bytes:
        """Serialise the evaluator with what it needs to be loaded."""
        return evaluator_bytes(network)


def encode_captioned(table: pa.Table) -> pa.Table:
    """Encode the captioned clips of the train split for the network."""
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
    """Decode rows of `encode_captioned` to motions and their captions."""
    motions = []
    for persons, *columns in zip(*(table[name] for name in ("num_persons", "valid", "features")), strict=True):
        valid, features = (np.array(column.values.to_numpy(zero_copy_only=False)) for column in columns)
        valid = valid.reshape(persons.as_py(), -1)
        motions.append(Encoded(features.reshape(*valid.shape, -1), valid))
    return motions, table["texts"].to_pylist()


if __name__ == "__main__":
    cli.run(train_evaluator, TrainEvaluatorConfig, __doc__ or "")
