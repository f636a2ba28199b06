"""Motion features of the evaluator: joints as seen along each person's heading."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Float32
from torch import Tensor

from motion.sequence import MotionSequence
from motion.skeleton import JOINT, MIRRORED, NUM_JOINTS, to_the_right

NUM_FEATURES = 2 * NUM_JOINTS * 3 + 4


@dataclass(frozen=True)
class Encoded:
    """Motion as the evaluator's network sees it."""

    features: Float32[np.ndarray, "person frame feature"]
    """Features of `motion_features`."""
    valid: Bool[np.ndarray, "person frame"]
    """True where a person is there."""

    @classmethod
    def of(cls, motion: MotionSequence) -> "Encoded":
        """Encode a motion."""
        return cls(motion_features(motion.joints, motion.valid, motion.fps), motion.valid)

    def stretch(self, start: int, length: int) -> "Encoded":
        """Cut `length` frames from `start` on."""
        frames = slice(start, start + length)
        return Encoded(self.features[:, frames], self.valid[:, frames])


@dataclass(frozen=True)
class MotionBatch:
    """Motions of a batch, padded to the largest."""

    features: Float[Tensor, "batch person frame feature"]
    """Features of `motion_features`, zero where not valid."""
    valid: Bool[Tensor, "batch person frame"]
    """True where a person is there."""

    @classmethod
    def of(cls, motions: Sequence[Encoded]) -> "MotionBatch":
        """Pad motions to the largest of them."""
        persons, frames = (max(motion.valid.shape[axis] for motion in motions) for axis in (0, 1))
        features = torch.zeros(len(motions), persons, frames, NUM_FEATURES)
        valid = torch.zeros(len(motions), persons, frames, dtype=torch.bool)
        for i, motion in enumerate(motions):
            p, f = motion.valid.shape
            features[i, :p, :f] = torch.from_numpy(motion.features)
            valid[i, :p, :f] = torch.from_numpy(motion.valid)
        return cls(features, valid)

    def to(self, device: torch.device | str) -> "MotionBatch":
        """Move the batch to `device`."""
        return MotionBatch(self.features.to(device), self.valid.to(device))


def motion_features(
    joints: Float32[np.ndarray, "person frame 24 3"], valid: Bool[np.ndarray, "person frame"], fps: float
) -> Float32[np.ndarray, "person frame feature"]:
    """Compute each person's features at each frame along their own heading, which do not depend on place or direction.

    Joints from the point on the floor below the pelvis (72, m), their velocities (72, m/s), the turn of the heading
    (rad/s), the way to the middle of all persons (2, m) and how many others there are. Zero where invalid.
    """
    plane, up = joints[..., 0] + 1j * joints[..., 1], joints[..., 2]  # the floor as complex numbers
    to_own = _heading(joints).conj()[..., None]
    moved = valid & np.roll(valid, 1, axis=1)
    moved[:, 0] = False
    count = valid.sum(axis=0)
    middle = (plane[:, :, 0] * valid).sum(axis=0) / np.maximum(count, 1)
    turn = np.angle(to_own[:, :-1, 0] * to_own[:, 1:, 0].conj())
    parts = [
        _flat((plane - plane[..., :1]) * to_own, up),
        _flat(_rate(plane, fps) * to_own, _rate(up, fps)) * moved[..., None],
        np.pad(turn, ((0, 0), (1, 0)))[..., None] * fps * moved[..., None],
        _flat((middle - plane[:, :, 0])[..., None] * to_own),
        np.broadcast_to(count - 1, valid.shape)[..., None],
    ]
    return (np.concatenate(parts, axis=-1) * valid[..., None]).astype(np.float32)


def _heading(joints: Float32[np.ndarray, "person frame 24 3"]) -> Complex[np.ndarray, "person frame"]:
    """Compute the unit direction over the floor that each person faces, as a complex number.

    It is at right angles to the line across hips and shoulders, or, where that stands upright because the person lies
    on their side, to that line and the spine: `clips.transforms.heading` takes the pelvis' rotation, unknown here.
    """
    right = to_the_right(joints, "hip", "shoulder")
    spine = joints[:, :, JOINT["neck"]] - joints[:, :, JOINT["pelvis"]]
    level = -right[..., 1] + 1j * right[..., 0]
    on_side = np.cross(spine, right)
    lying = np.abs(level) < 0.5 * np.linalg.norm(right, axis=-1)
    facing = np.where(lying, on_side[..., 0] + 1j * on_side[..., 1], level)
    return facing / np.maximum(np.abs(facing), 1e-9)


def _rate(values: np.ndarray, fps: float) -> np.ndarray:
    return np.diff(values, axis=1, prepend=values[:, :1]) * fps


def _flat(plane: np.ndarray, *up: np.ndarray) -> np.ndarray:
    """Flatten complex numbers (and heights) of each frame to one row of real ones."""
    return np.stack([plane.real, plane.imag, *up], axis=-1).reshape(*plane.shape[:2], -1)


def mirror_features(features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
    """Compute the features of the mirror image: left and right joints change places, vectors to the left turn right."""
    joints, rest = features[..., :-4].unflatten(-1, (2, NUM_JOINTS, 3)), features[..., -4:]
    mirrored = joints[..., MIRRORED, :] * joints.new_tensor([1, -1, 1])
    return torch.cat([mirrored.flatten(-3), rest * rest.new_tensor([-1, 1, -1, 1])], dim=-1)
