"""Perception of one sequence by the networks: bodies from crops of all persons, depth of the key frames.

It is the only part of a reconstruction that needs networks, so a cluster can run it where the GPUs are: `crop_people`
and `read_keyframes` decode pixels (CPU), `BodyRegressor.estimate` and `DepthModel.predict` are the networks, and
`recon.pipeline.reconstruct` needs nothing but their answers.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from recon.depth import DepthModel
from recon.regressors import BodyRegressor, CropEstimates
from recon.regressors.crops import crop_square
from recon.teton import TetonSequence


@dataclass(frozen=True, eq=False)
class Crops:
    """Square crops of each annotated person in each frame, frame by frame."""

    images: UInt8[np.ndarray, "crop size size 3"]
    squares: Float32[np.ndarray, "crop 3"]
    """Centre x, centre y and side in pixels of the frame."""
    person: Int64[np.ndarray, " crop"]
    """Index of the crop's person among the tracks."""
    frame: Int64[np.ndarray, " crop"]
    """Number of the crop's frame."""


@dataclass(frozen=True, eq=False)
class Perception:
    """Answers of the networks: a body for each crop, depth for each key frame."""

    squares: Float32[np.ndarray, "crop 3"]
    """Squares of the crops, as in `Crops`: centre x, centre y and side in pixels."""
    person: Int64[np.ndarray, " crop"]
    """Index of the crop's person among the tracks."""
    frame: Int64[np.ndarray, " crop"]
    """Number of the crop's frame."""
    estimates: CropEstimates
    disparity: Float32[np.ndarray, "keyframe height width"]
    """Relative depth (larger = nearer), at the size of the frames."""
    metric: Float32[np.ndarray, "keyframe low_height low_width"]
    """Metric depth of the key frames in metres, at any resolution."""


def perceive(sequence: TetonSequence, regressor: BodyRegressor, relative: DepthModel, metric: DepthModel) -> Perception:
    """Run all networks on one sequence in this process."""
    crops, images = crop_people(sequence, regressor.crop_size), read_keyframes(sequence)
    return Perception(
        crops.squares,
        crops.person,
        crops.frame,
        estimate(regressor, crops.images),
        relative.predict(images),
        metric.predict(images),
    )


def crop_people(sequence: TetonSequence, size: int) -> Crops:
    """Crop every annotated person; each frame is decoded once. `size` is the crops' side in pixels."""
    present = np.stack([track.present for track in sequence.tracks], axis=1)
    frame, person = np.nonzero(present)
    cut = []
    for number in np.unique(frame).tolist():
        image = sequence.frame(number)
        cut += [crop_square(image, sequence.tracks[k].boxes[number], size) for k in np.flatnonzero(present[number])]
    images, squares = zip(*cut, strict=True)
    return Crops(np.stack(images), np.stack(squares), person.astype(np.int64), frame.astype(np.int64))


def read_keyframes(sequence: TetonSequence) -> UInt8[np.ndarray, "keyframe height width 3"]:
    """Read the key frames as RGB."""
    return np.stack([sequence.frame(number) for number in sequence.keyframes])


def estimate(
    regressor: BodyRegressor, images: UInt8[np.ndarray, "crop size size 3"], batch_size: int = 16
) -> CropEstimates:
    """Run the regressor on any number of crops, `batch_size` at a time."""
    parts = [regressor.estimate(some) for some in torch.from_numpy(images).split(batch_size)]
    return CropEstimates(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(CropEstimates)}
    )


def by_person_and_frame(
    values: Float[Tensor, "crop *value"], perception: Perception, shape: tuple[int, int]
) -> Float[Tensor, "person frame *value"]:
    """Arrange values of crops by person and frame; zeros elsewhere."""
    table = values.new_zeros(*shape, *values.shape[1:])
    table[torch.from_numpy(perception.person), torch.from_numpy(perception.frame)] = values
    return table
