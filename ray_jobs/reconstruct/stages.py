"""Stages of the job: decoding, and actors with the body network, the depth networks, and the fit.

A row is one sequence, known by its place, a folder or URI. Each stage notes its visit in the row (`common.flow`).
"""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from motion.errors import InputError
from ray_jobs.common import storage
from ray_jobs.common.attempts import Attempts
from ray_jobs.common.batcher import Batcher
from ray_jobs.common.fetching import at_hand
from ray_jobs.common.flow import Clock, Visit
from ray_jobs.common.parts import write_part
from ray_jobs.common.watchdog import LIMIT_S, in_time
from ray_jobs.reconstruct.config import NETWORKS, ReconstructConfig
from recon import pipeline
from recon.depth import DepthNetwork, load_depth_model
from recon.fitting import Fit, fit_together
from recon.fitting.optimisation import together_on
from recon.observations import Observations
from recon.people import People
from recon.pipeline import Bodies
from recon.pipeline.contact_sheet import contact_sheet
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
from recon.teton import TetonSequence, file_name, read_sequence, sequence_id

KINDS = ("scenes", "motions")
NO_ROOM = "no room"
DEPTH_BATCH = 8
"""Key frames that a depth network sees at a time, of several sequences."""

logger = logging.getLogger(__name__)
Row = dict[str, Any]
Depth = Float32[np.ndarray, "height width"]
Depths = Float32[np.ndarray, "keyframe height width"]
_DECODING = Clock()


def name_of(place: str) -> str:
    """Derive a sequence's id from its folder or URI."""
    return sequence_id(Path(place.partition("?")[0] if "://" in place else place))


def decode(row: Row, crop_size: int, output: str) -> Row:
    """Decode crops of all persons; a sequence that cannot be read gets its reason instead."""
    place, visit = row["folder"], Visit("decode", _DECODING.seconds)
    try:
        with Attempts(output, "decode").attempt(name_of(place)), _read(place) as sequence, _DECODING.running():
            crops, reason = crop_people(sequence, crop_size), ""
    except Exception as error:
        crops, reason = _nothing(crop_size), _reason(error, place)
    return {
        "folder": place,
        "reason": reason,
        "visits": visit.end(),
        "crops": crops.images,
        "squares": crops.squares,
        "person": crops.person,
        "frame": crops.frame,
    }


@contextmanager
def _read(place: str) -> Iterator[TetonSequence]:
    """Read a sequence and give it, for as long as it may take to read its pictures."""
    with in_time(LIMIT_S, f"reading {place}"), at_hand(place) as folder:
        yield read_sequence(folder)


def _nothing(crop_size: int) -> Crops:
    none, images = np.zeros(0, dtype=np.int64), np.zeros((0, crop_size, crop_size, 3), dtype=np.uint8)
    return Crops(images, np.zeros((0, 3), dtype=np.float32), none, none)


def _reason(error: Exception, place: str) -> str:
    """Put an error into one line; a mistake of ours in one sequence must not cost the others of a long job.

    A disk without room is no sequence's fault: its line begins with `NO_ROOM`, and ends the job.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{NO_ROOM}: {' '.join(str(error).split())}"
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    logger.exception("%s", place)
    return " ".join(f"{place}: {type(error).__name__}: {error}".split())


@contextmanager
def weights_at_hand(config: ReconstructConfig) -> Iterator[ReconstructConfig]:
    """Give the configuration with the files of networks that URIs name copied to this machine meanwhile."""
    with ExitStack() as copies:
        named = {name: getattr(config, name) for name in NETWORKS}
        there: dict[str, Any] = {
            name: str(copies.enter_context(at_hand(value))) for name, value in named.items() if "://" in str(value)
        }
        yield replace(config, **there)


class BodyActor:
    """Actor with the body network, which turns sequences' crops into estimates."""

    def __init__(self, config: ReconstructConfig) -> None:
        self.attempts = Attempts(config.output, "body")
        with self.attempts.start(), weights_at_hand(config) as here:
            self.regressor = load_regressor(here.regressor, here.smpl, device=config.device, bf16=config.bf16)
        self.estimate = Batcher(self._estimate, config.batch_size)
        self.computed = _computed(config, self.estimate)

    def __call__(self, batch: Row) -> Row:
        visit = Visit("body", self.computed)
        images, estimates, place = batch.pop("crops")[0], _no_estimates(), str(batch["folder"][0])
        if len(images):
            try:
                with self.attempts.attempt(name_of(place)):
                    estimates = _stacked(self.estimate(list(images)))
            except Exception as error:
                batch["reason"] = np.array([_reason(error, place)])
        batch["visits"] = np.array([visit.end(batch["visits"][0])])
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
        with self.attempts.start(), weights_at_hand(config) as here:
            relative = load_depth_model(here.relative_depth, metric=False, device=config.device, bf16=config.bf16)
            metric = load_depth_model(here.metric_depth, metric=True, device=config.device, bf16=config.bf16)
        self.predict = tuple(Batcher(partial(_depths, network), DEPTH_BATCH) for network in (relative, metric))
        self.computed = _computed(config, *self.predict)

    def __call__(self, batch: Row) -> Row:
        visit, place = Visit("depth", self.computed), str(batch["folder"][0])
        answers: Sequence[Depths] = [np.zeros((0, 1, 1), dtype=np.float32)] * 2
        if not batch["reason"][0]:
            try:
                with self.attempts.attempt(name_of(place)):
                    answers = self._depths(place)
            except Exception as error:
                batch["reason"] = np.array([_reason(error, place)])
        batch["visits"] = np.array([visit.end(batch["visits"][0])])
        return batch | {"disparity": answers[0][None], "metric": answers[1][None]}

    def _depths(self, place: str) -> Sequence[Depths]:
        with _read(place) as sequence:
            if sequence.measured:
                return measured_depth(sequence)
            images = list(read_keyframes(sequence))
        return [np.stack(predict(images)) for predict in self.predict]


def _computed(config: ReconstructConfig, *batchers: Batcher[Any, Any]) -> Callable[[], float]:
    """Return what says how long a network's actor computed: its batches on a GPU, without one all of its process."""
    return (lambda: sum(each.seconds() for each in batchers)) if config.num_gpus else time.process_time


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
        with self.attempts.start(), weights_at_hand(config) as here:
            self.bodies = make_bodies(here)
        most = together_on(config.fit_device)
        self.fit = Batcher(self._fit_together, most, lambda asked: float(asked[1].valid.numel()))

    def __call__(self, batch: Row) -> Row:
        row, visit = {name: values[0] for name, values in batch.items()}, Visit("fit")
        place, reason, frames = row["folder"], row["reason"], 0
        name = name_of(place)
        if not reason:
            try:
                with self.attempts.attempt(name), at_hand(place) as folder:
                    frames = self._write(folder, row)
            except Exception as error:
                reason = _reason(error, place)
        if reason and not reason.startswith(NO_ROOM):
            storage.write_rejected(storage.join(self.config.output, "rejected"), [(name, reason)])
        made = {"id": name, "reason": reason, "frames": frames, "person_frames": len(row["frame"]) if frames else 0}
        return {key: np.array([value]) for key, value in (made | {"visits": visit.end(row["visits"])}).items()}

    def _write(self, folder: Path, row: Row) -> int:
        """Reconstruct and write a sequence; return the number of its frames."""
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
        return sequence.num_frames

    def _fit(self, observed: Observations, start: People) -> Fit:
        return self.fit([(observed, start)])[0]

    def _fit_together(self, asked: Sequence[tuple[Observations, People]]) -> list[Fit]:
        observations, starts = zip(*asked, strict=True)
        return fit_together(observations, starts, self.bodies.body, self.bodies.prior, self.config.fit_device)


def sheet_uri(output: str, name: str) -> str:
    """Name the contact sheet of a sequence."""
    return storage.join(output, "sheets", f"{file_name(name)}.png")


def make_bodies(config: ReconstructConfig) -> Bodies:
    """Load body, pose prior and lifter."""
    return pipeline.load_bodies(config.smpl or "default", config.pose_prior, config.regressor)
