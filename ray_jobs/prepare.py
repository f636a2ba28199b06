"""Motion data of any source to MotionSequences in Parquet, ready to train on.

    python -m ray_jobs.prepare --output data/deepmimic

Writes motions/*.parquet, rejected/*.parquet (what could not be read, and why), normalizer.safetensors and config.yaml.
Run again it reads only what is missing.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
import ray.data
import torch
from safetensors.torch import load, save

from motion.body import load_body
from motion.datasets import deepmimic
from motion.datasets.unify import canonical_start, resample
from motion.errors import InputError
from motion.features import Normalizer, encode_sequence
from motion.sequence import MotionSequence, iter_parquet
from ray_jobs import config, storage

CLIPS_PER_SHARD = 32
NORMALIZER_FILE = "normalizer.safetensors"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareConfig:
    output: str
    """Folder or URI (s3://…) to write to."""
    source: Literal["deepmimic"] = "deepmimic"
    root: Path | None = None
    """Folder of the source's files; for deepmimic the default is the installed pybullet_data."""
    fps: float = 20.0
    max_rejected_fraction: float = 0.05
    """The job fails at its end, good output kept, when more than this share of the clips is rejected."""

    def __post_init__(self) -> None:
        if self.fps <= 0 or not 0 <= self.max_rejected_fraction <= 1:
            raise InputError("fps must be positive and max_rejected_fraction lie in 0..1")


def prepare(config_: PrepareConfig) -> None:
    paths = deepmimic.clip_paths(config_.root)
    motions, rejected = (storage.join(config_.output, name) for name in ("motions", "rejected"))
    done = set(storage.read_column(motions, "id"))
    missing = [path for path in paths if f"deepmimic/{path.stem}" not in done]
    storage.delete_folder(rejected)  # rejected clips are tried anew
    outcomes = _convert(missing, motions, rejected, config_.fps) if missing else []
    reasons = [outcome["reason"] for outcome in outcomes if outcome["reason"]]
    logger.info(
        "%d clips prepared, %d there before, %d rejected",
        len(missing) - len(reasons),
        len(done),
        len(reasons),
    )
    for reason in reasons:
        logger.warning("rejected: %s", reason)
    write_normalizer(config_.output)
    storage.write_bytes(storage.join(config_.output, "config.yaml"), config.to_yaml(config_).encode())
    if len(reasons) > config_.max_rejected_fraction * len(paths):
        raise InputError(
            f"{len(reasons)} of {len(paths)} clips were rejected, more than max_rejected_fraction = "
            f"{config_.max_rejected_fraction}; the reasons are in {rejected}, the first is: {reasons[0]}"
        )


def _convert(paths: list[Path], motions: str, rejected: str, fps: float) -> list[dict[str, Any]]:
    dataset = ray.data.from_items([{"path": str(path)} for path in paths]).map_batches(
        partial(convert_shard, motions=motions, rejected=rejected, fps=fps),
        batch_size=CLIPS_PER_SHARD,
        batch_format="numpy",
    )
    return dataset.take_all()


def convert_shard(batch: dict[str, np.ndarray], motions: str, rejected: str, fps: float) -> dict[str, np.ndarray]:
    """Read the clips at batch["path"], write good and bad ones to their folders; return a reason or "" per clip."""
    body = load_body()
    good: list[MotionSequence] = []
    bad: list[tuple[str, str]] = []
    reasons = []
    for path in map(Path, batch["path"]):
        try:
            clip = resample(deepmimic.read_clip(path, body), fps, body)
            good.append(canonical_start(clip, body))
            reasons.append("")
        except InputError as error:
            bad.append((f"deepmimic/{path.stem}", str(error)))
            reasons.append(str(error))
    storage.write_shard(motions, good)
    storage.write_rejected(rejected, bad)
    return {"path": batch["path"], "reason": np.array(reasons, dtype=object)}


def write_normalizer(output: str) -> None:
    """Mean and standard deviation of the training features of everything under `output`."""
    frames = [
        encode_sequence(sequence)[torch.from_numpy(sequence.valid)]
        for sequence in iter_parquet(MotionSequence, storage.join(output, "motions"))
        if sequence.split == "train"
    ]
    if not frames:
        raise InputError(f"{output} holds no training clips; see {storage.join(output, 'rejected')} for why")
    normalizer = Normalizer.fit(torch.cat(frames))
    content = save({"mean": normalizer.mean, "std": normalizer.std})
    storage.write_bytes(storage.join(output, NORMALIZER_FILE), content)


def read_normalizer(data: str) -> Normalizer:
    uri = storage.join(data, NORMALIZER_FILE)
    if not storage.exists(uri):
        raise InputError(f"no {NORMALIZER_FILE} in {data}; make it with `python -m ray_jobs.prepare --output {data}`")
    tensors = load(storage.read_bytes(uri))
    return Normalizer(tensors["mean"], tensors["std"])


if __name__ == "__main__":
    config.run(prepare, PrepareConfig, __doc__ or "")
