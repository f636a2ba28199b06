"""Common ground of HumanML3D's and InterGen's formats: 22 joints, Y up, over the origin, facing +Z."""

import torch
from jaxtyping import Float
from torch import Tensor

from motion.errors import InputError
from motion.rotations import about, rotate
from motion.sequence import MotionSequence
from motion.skeleton import PARENTS

NUM_JOINTS = 22


def joints_of(sequence: MotionSequence, fps: int) -> Float[Tensor, "person frame 22 3"]:
    """Select the 22 joints of a record that the formats can represent.

    Raises InputError for another rate, a single frame or persons who are not always valid.
    """
    if abs(sequence.fps - fps) > 0.01:
        raise InputError(f"{sequence.id}: has {sequence.fps:g} frames per second, expected {fps}: resample it first")
    if sequence.num_frames < 2:
        raise InputError(f"{sequence.id}: has 1 frame, expected at least 2, between which a joint can move")
    missing = (~sequence.valid).sum(axis=1)
    if missing.any():
        person = int(missing.argmax())
        raise InputError(
            f"{sequence.id}: valid is false for person {person} on {missing[person]} of {sequence.num_frames} frames, "
            "expected persons who are always there: crop it or leave them out"
        )
    return torch.from_numpy(sequence.joints[:, :, :NUM_JOINTS])


def to_y_up(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert Z-up coordinates to Y up: (x, y, z) to (x, z, -y)."""
    return points[..., [0, 2, 1]] * points.new_tensor([1, 1, -1])


def on_ground(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Project points to the ground: set their height to zero."""
    return points * points.new_tensor([1, 0, 1])


def turned(angle: Float[Tensor, "..."], points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotate points about the upward axis by `angle` radians, from +Z towards +X."""
    return rotate(about("y", angle), points)


def yaw_of(right: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Compute the angle from +Z to the facing direction of a person with that right side."""
    return torch.atan2(right[..., 2], -right[..., 0])


def from_start(
    joints: Float[Tensor, "*batch frame 22 3"], pelvis: Float[Tensor, "*start 3"], yaw: Float[Tensor, "*start"]
) -> Float[Tensor, "*batch frame 22 3"]:
    """Move and turn joints so that this pelvis is over the origin, this heading is +Z and the lowest joint is at 0."""
    lowest = joints[..., 1].amin(dim=(-2, -1))[..., None] * joints.new_tensor([0, 1, 0])
    return turned(-yaw[..., None, None], joints - (on_ground(pelvis) + lowest)[..., None, None, :])


def bones_of(joints: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 21 3"]:
    """Compute the vector from each joint's parent to it, without the pelvis."""
    return joints[..., 1:, :] - joints[..., PARENTS[1:NUM_JOINTS], :]
