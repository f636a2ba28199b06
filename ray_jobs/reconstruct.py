"""Reconstruct annotated room videos as metric scenes with persons, in Parquet.

    python -m recon.simulate --output rooms --count 8                # or your own Teton tree (recon/teton/tree.py)
    python -m ray_jobs.reconstruct --rooms rooms --output data/rooms

Writes to the output folder

    motions/*.parquet    one row a sequence: persons in the room's world (Z up, floor z = 0, metres)
    scenes/*.parquet     one row a sequence: the room as labelled points, and its camera
    sheets/ID.png        bodies over frames, and the room from above
    rejected/*.parquet   id and reason of each sequence that could not be reconstructed
    config.yaml          what was asked for

Ray Data decodes and crops on CPUs, runs the body network and the depth networks in actor pools, and assembles each
sequence in a task of its own. Run again it reconstructs only what is missing; what was rejected is tried anew.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
import torch
from tqdm import tqdm

from motion.errors import InputError
from motion.errors.numbers import at_least, check_numbers
from motion.parquet import write_parquet
from ray_jobs.common import cli, storage
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import check_seen, require_weights, settle, settle_files
from ray_jobs.common.resources import GPUS, READER, check_resources
from recon import pipeline
from recon.depth import load_depth_model
from recon.pipeline import Bodies
from recon.pipeline.contact_sheet import contact_sheet
from recon.pipeline.options import ReconstructionOptions
from recon.pipeline.perception import Crops, Perception, crop_people, estimate, predict_depth, read_keyframes
from recon.pipeline.record import describe_quality
from recon.regressors import CropEstimates, load_regressor
from recon.teton import (
    file_name,
    list_sequences,
    read_sequence,
    require_file_names,
    require_readable,
    sequence_id,
)

NETWORKS = ("regressor", "smpl", "relative_depth", "metric_depth", "pose_prior")
FIXED_SETTINGS = ("mode", *NETWORKS)
"""Settings that all sequences of one output share."""
ACTOR_CPUS = 0.5  # more, and a small machine has no CPU left for the tasks that feed the actors

logger = logging.getLogger(__name__)
Row = dict[str, Any]


@dataclass(frozen=True)
class ReconstructConfig(ReconstructionOptions):
    """Settings of bulk reconstruction."""

    rooms: str
    """Teton tree, ROOT/DEPARTMENT/DEVICE/DATE/DATETIME; on a cluster every node must see it."""
    output: str
    """Folder or URI (s3://…) to write to."""
    body_actors: int = 1
    """Actors that run the body network."""
    depth_actors: int = 1
    """Actors that run the depth networks."""
    num_gpus: float = 0.0
    """GPUs of each actor, such as 0.5; 0 keeps the networks on the CPU."""
    batch_size: int = 16
    """Crops that the body network sees at a time."""
    max_rejected_fraction: float = 0.05
    """Share of rejected sequences above which the job fails at its end; good output is kept."""

    def __post_init__(self) -> None:
        cli.check_fraction(self.max_rejected_fraction)
        counts = dict.fromkeys(("body_actors", "depth_actors", "batch_size"), at_least(1))
        check_numbers(self, {**counts, "num_gpus": GPUS})
        settle(self, "rooms")
        settle_files(self, *NETWORKS)

    @property
    def device(self) -> str:
        """Torch device of the networks."""
        return "cuda" if self.num_gpus else "cpu"


@writes_output
def reconstruct(config: ReconstructConfig) -> None:
    """Reconstruct the sequences that the output lacks; raises InputError when too many are rejected."""
    if not (folders := list_sequences(Path(config.rooms))):
        raise InputError(f"{config.rooms} holds no sequence, expected folders DEPARTMENT/DEVICE/DATE/DATETIME in it")
    require_weights(config, *NETWORKS)
    require_file_names(folders)
    require_readable(folders)
    check_seen(config.rooms, *(str(getattr(config, name)) for name in NETWORKS))
    actor = {"CPU": ACTOR_CPUS, "GPU": config.num_gpus}
    flags = "--body-actors, --depth-actors or --num-gpus"
    check_resources("reconstruction", flags, (config.body_actors + config.depth_actors, actor), READER)
    cli.refuse_other_settings(config.output, config, FIXED_SETTINGS)
    crop_size = ray.get(ray.remote(num_gpus=config.num_gpus)(check_models).remote(config))
    cli.write_config(config, config.output)
    motions, scenes, rejected = (storage.join(config.output, name) for name in ("motions", "scenes", "rejected"))
    done = set(storage.read_column(motions, "id")) & set(storage.read_column(scenes, "id"))
    missing = [folder for folder in folders if sequence_id(folder) not in done]
    storage.delete_folder(rejected)  # what was rejected is tried anew
    with tqdm(total=len(folders), initial=len(folders) - len(missing), desc="reconstruct") as bar:
        for _ in reconstruct_all(missing, crop_size, config):
            bar.update()
    reasons = storage.read_rows(rejected, ("id", "reason"))
    before = len(folders) - len(missing)
    logger.info("%d sequences, %d of them there before, %d rejected", len(folders), before, len(reasons))
    cli.check_rejected(reasons, len(folders), "sequences", config.max_rejected_fraction, rejected)
    look = f"motions, scenes and contact sheets (sheets/) lie in {config.output}"
    cli.conclude(look, "ray_jobs.prepare --output data/first --sources", f"teton:{config.output}")


def check_models(config: ReconstructConfig) -> int:
    """Load everything once where the actors will and return the body network's crop size in pixels.

    A missing file is the job's error, not one of every sequence.
    """
    for load in (DepthActor, make_bodies):
        load(config)
    return BodyActor(config).regressor.crop_size


def reconstruct_all(folders: list[Path], crop_size: int, config: ReconstructConfig) -> Iterable[Row]:
    """Yield one row as each sequence is written or rejected."""
    if not folders:
        return []

    def pool(actors: int) -> dict[str, Any]:
        return {
            "fn_constructor_args": [config],
            "batch_size": 1,
            "compute": ray.data.ActorPoolStrategy(size=actors),
            "num_cpus": ACTOR_CPUS,
            "num_gpus": config.num_gpus,
        }

    return (
        ray.data.from_items([{"folder": str(folder)} for folder in folders], override_num_blocks=len(folders))
        .map(partial(decode, crop_size=crop_size))
        .map_batches(BodyActor, **pool(config.body_actors))
        .map_batches(DepthActor, **pool(config.depth_actors))
        .map(partial(assemble, config=config))
        .iter_rows()
    )


def decode(row: Row, crop_size: int) -> Row:
    """Decode crops of all persons and the key frames; a sequence that cannot be read gets its reason instead."""
    folder = Path(row["folder"])
    try:
        sequence = read_sequence(folder)
        crops, keyframes, reason = crop_people(sequence, crop_size), read_keyframes(sequence), ""
    except Exception as error:
        crops, keyframes, reason = _nothing(crop_size), np.zeros((0, 1, 1, 3), dtype=np.uint8), _reason(error, folder)
    return {
        "folder": row["folder"],
        "reason": reason,
        "crops": crops.images,
        "squares": crops.squares,
        "person": crops.person,
        "frame": crops.frame,
        "keyframes": keyframes,
    }


def _nothing(crop_size: int) -> Crops:
    none, images = np.zeros(0, dtype=np.int64), np.zeros((0, crop_size, crop_size, 3), dtype=np.uint8)
    return Crops(images, np.zeros((0, 3), dtype=np.float32), none, none)


def _reason(error: Exception, folder: Path) -> str:
    """Put an error into one line; a mistake of ours in one sequence must not cost the others of a long job."""
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    logger.exception("%s", folder)
    return " ".join(f"{folder}: {type(error).__name__}: {error}".split())


class BodyActor:
    """Actor with the body network, which turns a sequence's crops into estimates."""

    def __init__(self, config: ReconstructConfig) -> None:
        self.regressor = load_regressor(config.regressor, config.smpl, device=config.device, bf16=config.bf16)
        self.batch_size = config.batch_size

    def __call__(self, batch: Row) -> Row:
        images, estimates = batch.pop("crops")[0], _no_estimates()
        if len(images):
            try:
                estimates = estimate(self.regressor, images, self.batch_size)
            except Exception as error:
                batch["reason"] = np.array([_reason(error, Path(batch["folder"][0]))])
        return batch | {field.name: getattr(estimates, field.name).numpy()[None] for field in fields(CropEstimates)}


def _no_estimates() -> CropEstimates:
    return CropEstimates(torch.zeros(0, 3, 3), torch.zeros(0, 23, 3, 3), torch.zeros(0, 10), torch.zeros(0, 3))


class DepthActor:
    """Actor with both depth networks, which turns a sequence's key frames into disparity and metres."""

    def __init__(self, config: ReconstructConfig) -> None:
        self.relative = load_depth_model(config.relative_depth, metric=False, device=config.device, bf16=config.bf16)
        self.metric = load_depth_model(config.metric_depth, metric=True, device=config.device, bf16=config.bf16)

    def __call__(self, batch: Row) -> Row:
        images = batch.pop("keyframes")[0]
        answers = [np.zeros((0, 1, 1), dtype=np.float32)] * 2
        if not batch["reason"][0]:
            try:
                answers = [predict_depth(network, images) for network in (self.relative, self.metric)]
            except Exception as error:
                batch["reason"] = np.array([_reason(error, Path(batch["folder"][0]))])
        return batch | {"disparity": answers[0][None], "metric": answers[1][None]}


def assemble(row: Row, config: ReconstructConfig) -> Row:
    """Write a sequence's scene, then its motion, whose presence says that both are there; or why it is rejected."""
    folder = Path(row["folder"])
    name, reason = sequence_id(folder), row["reason"]
    if not reason:
        try:
            _write(folder, row, config)
        except Exception as error:
            reason = _reason(error, folder)
    if reason:
        storage.write_rejected(storage.join(config.output, "rejected"), [(name, reason)])
    return {"id": name, "reason": reason}


def _write(folder: Path, row: Row, config: ReconstructConfig) -> None:
    sequence, bodies = read_sequence(folder), make_bodies(config)
    estimates = CropEstimates(**{field.name: torch.tensor(row[field.name]) for field in fields(CropEstimates)})
    perception = Perception(row["squares"], row["person"], row["frame"], estimates, row["disparity"], row["metric"])
    made = pipeline.reconstruct(sequence, perception, bodies, config.mode)
    sheet = contact_sheet(sequence, made.scene, made.motion, bodies.body, describe_quality(made.quality))
    content = BytesIO()
    sheet.save(content, "PNG")
    storage.write_bytes(sheet_uri(config.output, sequence.id), content.getvalue())
    for kind, record in (("scenes", made.scene), ("motions", made.motion)):
        write_parquet([record], storage.join(config.output, kind, storage.shard_name([record.id])))


def sheet_uri(output: str, name: str) -> str:
    """Name the contact sheet of a sequence."""
    return storage.join(output, "sheets", f"{file_name(name)}.png")


def make_bodies(config: ReconstructConfig) -> Bodies:
    """Load body, pose prior and lifter."""
    return pipeline.load_bodies(config.smpl or "default", config.pose_prior, config.regressor)


if __name__ == "__main__":
    cli.run(reconstruct, ReconstructConfig, __doc__ or "")
