"""Train the classifier of actions that guidance follows (eq. 2.20), tracked by MLflow.

    python -m ray_jobs.train_classifier --data data/rooms --output runs/classifier

`--data` is the folder that the model to be guided learns from, as both must see the same normalized features. Learns
the actions that the train split holds from noisy features at all steps of the schedule, then logs the share of the test
split's persons that it classifies correctly at several noise levels, beside the share of the commonest action. Run
again with the same arguments it goes on from its last checkpoint, or does nothing when it has finished. Leaves
classifier.safetensors and config.yaml in the output folder.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray.data
import torch
from torch import Tensor

from motion.diffusion import ScheduleName, make_schedule
from motion.errors import InputError
from motion.errors.numbers import at_least, check_numbers
from motion.evaluator import (
    CLASSIFIER_FILE,
    ActionClassifier,
    Classifier,
    ClassifierConfig,
    classifier_bytes,
    load_classifier,
)
from motion.evaluator.action_classifier import CLIPS_PER_BATCH
from motion.evaluator.classifier_training import (
    Example,
    LabelledBatch,
    action_labels,
    classifier_loss,
    labelled_batch,
    num_correct,
)
from motion.features import Normalizer
from motion.parquet import from_table
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS
from ray_jobs.common import cli, single_worker_training, storage
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.prepared_data import read_normalizer

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


@dataclass(frozen=True, kw_only=True)
class TrainClassifierConfig(single_worker_training.SingleWorkerConfig):
    """Settings of the classifier's training."""

    network: ClassifierConfig = field(default_factory=ClassifierConfig)
    """Sizes and classes of the network; classes that the train split lacks are left out."""
    schedule: ScheduleName = "cosine"
    """Noise schedule that the model to be guided was trained with."""
    num_steps: int = 1000
    """Number of timesteps T of that schedule."""
    max_frames: int = 100
    """Longest stretch in frames that is shown; of a longer clip it is drawn at random."""
    batch_size: int = 32
    """Clips in each step."""
    learning_rate: float = 1e-3
    """Highest learning rate, reached after a tenth of the steps; it falls to nearly zero."""
    experiment: str = "carescene-classifier"
    """MLflow experiment that the run is logged to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, dict.fromkeys(("num_steps", "max_frames"), at_least(1)))


@dataclass(frozen=True)
class ClassifierInputs:
    """Inputs of a run, checked before anything is written."""

    normalizer: Normalizer
    network: ClassifierConfig


@writes_output
def train_classifier(config: TrainClassifierConfig) -> str:
    """Train to the last step and return where the classifier."""
    return single_worker_training.train(ClassifierTask(config, read_inputs(config)))


def read_inputs(config: TrainClassifierConfig) -> ClassifierInputs:
    """Read and check a run's inputs; raises InputError for unknown actions and too few actions or labelled clips."""
    asked = config.network.names
    if unknown := sorted(set(asked) - set(ACTIONS[1:])):
        raise InputError(f"network.names has {unknown[0]!r}, expected some of {', '.join(ACTIONS[1:])}")
    rows = storage.read_rows(storage.join(config.data, "motions"), ("split", "action"))
    clips = [{ACTIONS[code] for code in set(codes)}.intersection(asked) for split, codes in rows if split == "train"]
    names = tuple(name for name in asked if any(name in clip for clip in clips))
    if len(names) < 2:
        raise InputError(
            f"the train split of {config.data} holds {', '.join(names) or 'none'} of the actions "
            f"{', '.join(asked)}, expected at least two"
        )
    labelled = sum(bool(clip) for clip in clips)
    if labelled < config.batch_size:
        raise InputError(
            f"{config.data} holds {labelled} clips of the train split with these actions, less than one batch of "
            f"{config.batch_size}; lower --batch-size"
        )
    return ClassifierInputs(read_normalizer(config.data), replace(config.network, names=names))


@dataclass(frozen=True)
class ClassifierTask(single_worker_training.Task[ActionClassifier]):
    """Classifier's part of the training on one worker."""

    config: TrainClassifierConfig
    inputs: ClassifierInputs
    file_name = CLASSIFIER_FILE

    def dataset(self) -> ray.data.Dataset:
        """Read the train split's clips, with their actions as labels."""
        return encoded(self.config.data, "train", self.inputs.network.names)

    def network(self) -> ActionClassifier:
        """Build a freshly initialised network."""
        return ActionClassifier(self.inputs.network)

    def losses(self, network: ActionClassifier, device: torch.device, seed: int) -> Iterator[Tensor]:
        """Yield the cross-entropy of each batch of noisy motions without end."""
        generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
        schedule = make_schedule(self.config.schedule, self.config.num_steps).to(device)
        for table in single_worker_training.tables(self.config.batch_size, seed):
            batch = labelled_batch(decode_rows(table), self.inputs.normalizer, self.config.max_frames, rng).to(device)
            yield classifier_loss(network, schedule, batch.x0, batch.valid, batch.labels, generator)

    def file(self, network: ActionClassifier) -> bytes:
        """Serialise the classifier with what it needs to be loaded."""
        return classifier_bytes(network, self.inputs.normalizer, self.config.schedule, self.config.num_steps)

    def tested(self, file: Path) -> dict[str, float]:
        """Compute the shares of the test split that are classified correctly, by noise level."""
        return tested(load_classifier(file), self.config)


def encoded(data: str, split: str, names: tuple[str, ...]) -> ray.data.Dataset:
    """Encode the labelled clips of a split."""
    motions = storage.dataset(storage.join(data, "motions"))
    encode = partial(encode_labelled, split=split, names=names)
    return motions.map_batches(encode, batch_format="pyarrow", batch_size=None)


def encode_labelled(table: pa.Table, split: str, names: tuple[str, ...]) -> pa.Table:
    """Encode features and frames' labels of a split's clips in which any person has a label."""
    rows = []
    for motion in from_table(MotionSequence, storage.of_split(table, split)):
        example = Example.of(motion, action_labels(motion, names))
        if bool((example.labels >= 0).any()):
            columns = {name: value.flatten().numpy() for name, value in vars(example).items()}
            rows.append({"num_persons": motion.num_persons, **columns})
    return pa.Table.from_pylist(rows, schema=ENCODED)


def decode_rows(table: pa.Table) -> list[Example]:
    """Decode rows of `encode_labelled`."""
    examples = []
    columns = (table[name] for name in ENCODED.names)
    for persons, *values in zip(*columns, strict=True):
        flat = [torch.from_numpy(np.array(value.values.to_numpy(zero_copy_only=False))) for value in values]
        valid, labels = (value.view(persons.as_py(), -1) for value in flat[:2])
        examples.append(Example(flat[2].view(*valid.shape, -1), valid, labels))
    return examples


def tested(classifier: Classifier, config: TrainClassifierConfig) -> dict[str, float]:
    """Compute the share of the test split's labelled persons classified correctly, by noise level.

    Also the share of the commonest action; nothing when the test split has no label.
    """
    schedule, generator = make_schedule(classifier.schedule, classifier.num_steps), torch.Generator()
    generator.manual_seed(config.seed)
    noisy = [round(share * classifier.num_steps) for share in NOISE_LEVELS]
    levels = {"test_accuracy": None} | {f"test_accuracy_t{t}": t for t in noisy}
    right, labels = dict.fromkeys(levels, 0), torch.zeros(len(classifier.network.config.names), dtype=torch.long)
    clips = encoded(config.data, "test", classifier.network.config.names)
    for table in clips.iter_batches(batch_size=CLIPS_PER_BATCH, batch_format="pyarrow"):
        starts = [example.stretch(0, config.max_frames) for example in decode_rows(table)]
        batch = LabelledBatch.of(starts, classifier.normalizer)
        labels += torch.bincount(batch.labels[batch.labels >= 0], minlength=len(labels))
        for name, t in levels.items():
            right[name] += num_correct(classifier.network, schedule, batch, t, generator)
    total = int(labels.sum())
    if not total:
        logger.warning("nobody in the test split of %s has a label, so there is no accuracy", config.data)
        return {}
    return {name: value / total for name, value in right.items()} | {"test_commonest": int(labels.max()) / total}


if __name__ == "__main__":
    cli.run(train_classifier, TrainClassifierConfig, __doc__ or "")
