"""Reconstruct annotated room videos as metric scenes with persons, in Parquet.

    python -m recon.simulate --output rooms --count 8                # or your own Teton tree (recon/teton/tree.py)
    python -m ray_jobs.reconstruct --rooms rooms --output data/rooms

Writes to the output folder

    motions/*.parquet    one row a sequence: persons in the room's world (Z up, floor z = 0, metres)
    scenes/*.parquet     one row a sequence: the room as labelled points, and its camera
    parts/               rows that are finished and not yet enough for a file of motions/ and one of scenes/
    attempts/            counters of the rows that are in work
    sheets/ID.png        bodies over frames, and the room from above
    rejected/*.parquet   id and reason of each sequence that could not be reconstructed
    config.yaml          what was asked for

Ray Data decodes and crops on CPUs, and runs the body network, the depth networks and the fit in actor pools of their
own. Several sequences are in an actor at once, and its batches are filled from all of them. Run again it reconstructs
only what is missing; what was rejected is tried anew. A process that dies or hangs is started again with its sequences;
a sequence whose process died three times in one stage is rejected.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from tqdm import tqdm

from motion.errors import InputError
from motion.errors.numbers import at_least, check_numbers
from ray_jobs.common import cli, storage
from ray_jobs.common.attempts import ATTEMPTS, Attempts, lasting
from ray_jobs.common.batcher import INSIDE, Batcher
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.parts import PARTS, ROWS, finished, publish, write_part
from ray_jobs.common.places import check_seen, require_weights, settle, settle_files
from ray_jobs.common.resources import GPUS, check_resources
from recon import pipeline
from recon.depth import DepthNetwork, load_depth_model
from recon.fitting import Fit, fit_together
from recon.fitting.optimisation import TOGETHER
from recon.observations import Observations
from recon.people import People
from recon.pipeline import Bodies
from recon.pipeline.contact_sheet import contact_sheet
from recon.pipeline.options import ReconstructionOptions
from recon.pipeline.perception import (
    Crops,
    Perception,
    crop_people,
    estimate,
    measured_depth,
    predict_depth,
    read_keyframes,
)
from recon.pipeline.record import describe_quality
from recon.regressors import CropEstimates, load_regressor
from recon.teton import (
    TetonSequence,
    file_name,
    list_sequences,
    read_sequence,
    require_file_names,
    require_readable,
    sequence_id,
)

NETWORKS = ("regressor", "smpl", "relative_depth", "metric_depth", "pose_prior")
KINDS = ("scenes", "motions")
FIXED_SETTINGS = ("mode", *NETWORKS)
"""Settings that all sequences of one output share."""
DEPTH_BATCH = 8
"""Key frames that a depth network sees at a time, of several sequences."""
ACTOR_CPUS = 0.5  # more, and a small machine has no CPU left for the tasks that feed the actors

logger = logging.getLogger(__name__)
Row = dict[str, Any]
Depth = Float32[np.ndarray, "height width"]
Depths = Float32[np.ndarray, "keyframe height width"]


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
    fit_actors: int = 0
    """Actors that fit persons to their keypoints and write, each on a CPU; 0 takes the CPUs that the others leave."""
    num_gpus: float = 0.0
    """GPUs of each actor that runs networks, such as 0.5; 0 keeps them on the CPU."""
    batch_size: int = 16
    """Crops that the body network sees at a time, of several sequences."""
    max_rejected_fraction: float = 0.05
    """Share of rejected sequences above which the job fails at its end; good output is kept."""

    def __post_init__(self) -> None:
        cli.check_fraction(self.max_rejected_fraction)
        counts = dict.fromkeys(("body_actors", "depth_actors", "batch_size"), at_least(1))
        check_numbers(self, {**counts, "fit_actors": at_least(0), "num_gpus": GPUS})
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
    network, cpus = {"CPU": ACTOR_CPUS, "GPU": config.num_gpus}, {"CPU": ACTOR_CPUS}
    flags = "--body-actors, --depth-actors, --fit-actors or --num-gpus"
    networks = config.body_actors + config.depth_actors
    check_resources("reconstruction", flags, (networks, network), (fit_actors(config), cpus), (1, cpus))
    cli.refuse_other_settings(config.output, config, FIXED_SETTINGS)
    published, waiting = finished(config.output, KINDS, [sequence_id(folder) for folder in folders])
    crop_size = ray.get(ray.remote(num_gpus=config.num_gpus)(check_models).remote(config))
    cli.write_config(config, config.output)
    done = published.union(waiting)
    missing = [folder for folder in folders if sequence_id(folder) not in done]
    rejected = storage.join(config.output, "rejected")
    storage.delete_folder(rejected)  # what was rejected is tried anew
    attempts = storage.join(config.output, ATTEMPTS)
    storage.delete_folder(attempts)  # of a killed job
    with tqdm(total=len(folders), initial=len(folders) - len(missing), desc="reconstruct") as bar:
        for row in reconstruct_all(missing, crop_size, config):
            bar.update()
            waiting += [] if row["reason"] else [row["id"]]
            if len(waiting) >= ROWS:
                publish(config.output, KINDS, waiting)
                waiting = []
    publish(config.output, KINDS, waiting)
    for folder in (storage.join(config.output, PARTS), attempts):
        storage.delete_folder(folder)
    reasons = storage.read_rows(rejected, ("id", "reason"))
    before = len(folders) - len(missing)
    logger.info("%d sequences, %d of them there before, %d rejected", len(folders), before, len(reasons))
    cli.check_rejected(reasons, len(folders), "sequences", config.max_rejected_fraction, rejected)
    look = f"motions, scenes and contact sheets (sheets/) lie in {config.output}"
    cli.conclude(look, "ray_jobs.prepare --output data/first --sources", f"teton:{config.output}")


def fit_actors(config: ReconstructConfig) -> int:
    """Count the actors that fit: as many as asked for, or as the cluster has CPUs that no other actor keeps busy."""
    others = config.body_actors + config.depth_actors + 1  # one decodes
    return config.fit_actors or max(1, int(ray.cluster_resources().get("CPU", 0.0) - ACTOR_CPUS * others))


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

    def pool(actors: int, num_gpus: float) -> dict[str, Any]:
        strategy = ray.data.ActorPoolStrategy(
            size=actors, max_concurrent_calls_per_actor=INSIDE, enable_true_multi_threading=True
        )
        made = {"fn_constructor_args": [config], "batch_size": 1, "compute": strategy}
        return made | {"num_cpus": ACTOR_CPUS, "num_gpus": num_gpus}

    with ray.data.DataContext.current(lasting()):
        rows = ray.data.from_items([{"folder": str(folder)} for folder in folders], override_num_blocks=len(folders))
    return (
        rows.map(partial(decode, crop_size=crop_size, output=config.output), num_cpus=ACTOR_CPUS)
        .map_batches(BodyActor, **pool(config.body_actors, config.num_gpus))
        .map_batches(DepthActor, **pool(config.depth_actors, config.num_gpus))
        .map_batches(FitActor, **pool(fit_actors(config), 0.0))
        .iter_rows()
    )


def decode(row: Row, crop_size: int, output: str) -> Row:
    """Decode crops of all persons; a sequence that cannot be read gets its reason instead."""
    folder = Path(row["folder"])
    try:
        with Attempts(output, "decode").attempt(sequence_id(folder)):
            crops, reason = crop_people(read_sequence(folder), crop_size), ""
    except Exception as error:
        crops, reason = _nothing(crop_size), _reason(error, folder)
    return {
        "folder": row["folder"],
        "reason": reason,
        "crops": crops.images,
        "squares": crops.squares,
        "person": crops.person,
        "frame": crops.frame,
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
    """Actor with the body network, which turns sequences' crops into estimates."""

    def __init__(self, config: ReconstructConfig) -> None:
        self.attempts = Attempts(config.output, "body")
        with self.attempts.start():
            self.regressor = load_regressor(config.regressor, config.smpl, device=config.device, bf16=config.bf16)
        self.estimate = Batcher(self._estimate, config.batch_size)

    def __call__(self, batch: Row) -> Row:
        images, estimates, folder = batch.pop("crops")[0], _no_estimates(), Path(batch["folder"][0])
        if len(images):
            try:
                with self.attempts.attempt(sequence_id(folder)):
                    estimates = _stacked(self.estimate(list(images)))
            except Exception as error:
                batch["reason"] = np.array([_reason(error, folder)])
        return batch | {field.name: getattr(estimates, field.name).numpy()[None] for field in fields(CropEstimates)}

    def _estimate(self, images: Sequence[UInt8[np.ndarray, "size size 3"]]) -> list[tuple[Tensor, ...]]:
        found = estimate(self.regressor, np.stack(images), len(images))
        return list(zip(*(getattr(found, field.name) for field in fields(CropEstimates)), strict=True))


def _stacked(estimates: Sequence[tuple[Tensor, ...]]) -> CropEstimates:
    return CropEstimates(*(torch.stack(values) for values in zip(*estimates, strict=True)))


def _no_estimates() -> CropEstimates:
    return CropEstimates(torch.zeros(0, 3, 3), torch.zeros(0, 23, 3, 3), torch.zeros(0, 10), torch.zeros(0, 3))


class DepthActor:
    """Actor with both depth networks, which turns sequences' key frames into disparity and metres.

    Measured depth takes their place in the sequences that have it.
    """

    def __init__(self, config: ReconstructConfig) -> None:
        self.attempts = Attempts(config.output, "depth")
        with self.attempts.start():
            relative = load_depth_model(config.relative_depth, metric=False, device=config.device, bf16=config.bf16)
            metric = load_depth_model(config.metric_depth, metric=True, device=config.device, bf16=config.bf16)
        self.predict = tuple(Batcher(partial(_depths, network), DEPTH_BATCH) for network in (relative, metric))

    def __call__(self, batch: Row) -> Row:
        answers: Sequence[Depths] = [np.zeros((0, 1, 1), dtype=np.float32)] * 2
        if not batch["reason"][0]:
            folder = Path(batch["folder"][0])
            try:
                with self.attempts.attempt(sequence_id(folder)):
                    answers = self._depths(read_sequence(folder))
            except Exception as error:
                batch["reason"] = np.array([_reason(error, folder)])
        return batch | {"disparity": answers[0][None], "metric": answers[1][None]}

    def _depths(self, sequence: TetonSequence) -> Sequence[Depths]:
        if sequence.measured:
            return measured_depth(sequence)
        images = list(read_keyframes(sequence))
        return [np.stack(predict(images)) for predict in self.predict]


def _depths(network: DepthNetwork, images: Sequence[UInt8[np.ndarray, "height width 3"]]) -> list[Depth]:
    """Predict the depth of images, those of one size together."""
    return [
        depth
        for _, alike in groupby(images, key=lambda image: image.shape)
        for depth in predict_depth(network, np.stack(list(alike)))
    ]


class FitActor:
    """Actor that fits persons to their keypoints, those of several sequences together.

    It writes each sequence's sheet, scene and motion, or why it is rejected.
    """

    def __init__(self, config: ReconstructConfig) -> None:
        self.config, self.attempts = config, Attempts(config.output, "fit")
        with self.attempts.start():
            self.bodies = make_bodies(config)
        self.fit = Batcher(self._fit_together, TOGETHER, lambda asked: float(asked[1].valid.numel()))

    def __call__(self, batch: Row) -> Row:
        row = {name: values[0] for name, values in batch.items()}
        folder, reason = Path(row["folder"]), row["reason"]
        name = sequence_id(folder)
        if not reason:
            try:
                with self.attempts.attempt(name):
                    self._write(folder, row)
            except Exception as error:
                reason = _reason(error, folder)
        if reason:
            storage.write_rejected(storage.join(self.config.output, "rejected"), [(name, reason)])
        return {"id": np.array([name]), "reason": np.array([reason])}

    def _write(self, folder: Path, row: Row) -> None:
        sequence, output = read_sequence(folder), self.config.output
        estimates = CropEstimates(**{field.name: torch.tensor(row[field.name]) for field in fields(CropEstimates)})
        perception = Perception(row["squares"], row["person"], row["frame"], estimates, row["disparity"], row["metric"])
        made = pipeline.reconstruct(sequence, perception, self.bodies, self.config.mode, self._fit)
        sheet = contact_sheet(sequence, made.scene, made.motion, self.bodies.body, describe_quality(made.quality))
        content = BytesIO()
        sheet.save(content, "PNG")
        storage.write_bytes(sheet_uri(output, sequence.id), content.getvalue())
        for kind, record in zip(KINDS, (made.scene, made.motion), strict=True):
            write_part(output, kind, record, sequence.id)

    def _fit(self, observed: Observations, start: People) -> Fit:
        return self.fit([(observed, start)])[0]

    def _fit_together(self, asked: Sequence[tuple[Observations, People]]) -> list[Fit]:
        observations, starts = zip(*asked, strict=True)
        return fit_together(observations, starts, self.bodies.body, self.bodies.prior)


def sheet_uri(output: str, name: str) -> str:
    """Name the contact sheet of a sequence."""
    return storage.join(output, "sheets", f"{file_name(name)}.png")


def make_bodies(config: ReconstructConfig) -> Bodies:
    """Load body, pose prior and lifter."""
    return pipeline.load_bodies(config.smpl or "default", config.pose_prior, config.regressor)


if __name__ == "__main__":
    cli.run(reconstruct, ReconstructConfig, __doc__ or "")
