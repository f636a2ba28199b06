"""Perception of one sequence by the networks: bodies from crops of all persons, depth of the key frames.

It is the only part of a reconstruction that needs networks, so a cluster can run it where the GPUs are: `crop_people`
and `read_keyframes` decode pixels (CPU), `BodyRegressor.estimate` and `DepthNetwork.predict` are the networks, and
`recon.pipeline.reconstruct` needs nothing but their answers.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from motion.errors import InputError
from recon.depth import DepthNetwork
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


def perceive(
    sequence: TetonSequence, regressor: BodyRegressor, relative: DepthNetwork, metric: DepthNetwork
) -> Perception:
    """Run all networks on one sequence in this process; measured depth takes the place of the depth networks."""
    crops = crop_people(sequence, regressor.crop_size)
    if sequence.measured:
        depth = measured_depth(sequence)
    else:
        images = read_keyframes(sequence)
        depth = predict_depth(relative, images), predict_depth(metric, images)
    return Perception(crops.squares, crops.person, crops.frame, estimate(regressor, crops.images), *depth)


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


def measured_depth(
    sequence: TetonSequence,
) -> tuple[Float32[np.ndarray, "keyframe height width"], Float32[np.ndarray, "keyframe height width"]]:
    """Read the measured depth of the key frames as networks would give it: disparity (1/m), and metres."""
    metres = np.stack([sequence.depth(number) for number in sequence.keyframes])
    return 1 / metres, metres


def estimate(
    regressor: BodyRegressor, images: UInt8[np.ndarray, "crop size size 3"], batch_size: int = 16
) -> CropEstimates:
    """Run the regressor on any number of crops, `batch_size` at a time; raises InputError for a malformed answer."""
    parts = [_checked(regressor.estimate(some), len(some)) for some in torch.from_numpy(images).split(batch_size)]
    return CropEstimates(
        **{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(CropEstimates)}
    )


def _checked(found: CropEstimates, count: int) -> CropEstimates:
    """Return the answer for `count` crops if it has the shapes of CropEstimates, and only finite numbers."""
    for field in fields(CropEstimates):
        value = getattr(found, field.name, None)
        if not isinstance(value, field.type) or len(value) != count or not value.isfinite().all():  # type: ignore[arg-type]
            raise InputError(
                f"the body network gave {_kind(value)} as {field.name} of {count} crops, "
                f"expected finite floats of shape ({field.type.dim_str})"  # type: ignore[union-attr]
            )
    return found


def predict_depth(
    network: DepthNetwork, images: UInt8[np.ndarray, "image height width 3"]
) -> Float32[np.ndarray, "image height width"]:
    """Return a depth network's answer at the images' own size; InputError where it gives anything else."""
    found = network.predict(images)
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != images.shape[:3]:
        raise InputError(f"the depth network gave {_kind(found)}, expected a float32 array of shape {images.shape[:3]}")
    return found


def _kind(value: object) -> str:
    """Say what a network gave in place of what it should have."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def by_person_and_frame(
    values: Float[Tensor, "crop *value"], perception: Perception, shape: tuple[int, int]
) -> Float[Tensor, "person frame *value"]:
    """Arrange values of crops by person and frame; zeros elsewhere."""
    table = values.new_zeros(*shape, *values.shape[1:])
    table[torch.tensor(perception.person), torch.tensor(perception.frame)] = values
    return table
