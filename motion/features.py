"""Features of the network: a MotionSequence as numbers, and back (eq. 4.7).

A person's frame is 282 numbers: 24 x 3 global positions (m), 24 x 3 velocities (m per frame, zero on the first frame),
23 x 6 local rotations. The root orientation is not among them: it is recovered in closed form.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import Body
from motion.kinematics import root_orientation
from motion.rotations import matrix_from_6d, matrix_to_6d
from motion.sequence import MotionSequence
from motion.skeleton import NUM_JOINTS
from motion.smpl_parameters import SmplParameters

POSITIONS = slice(0, NUM_JOINTS * 3)
"""Columns of the joints' positions."""
VELOCITIES = slice(POSITIONS.stop, POSITIONS.stop + NUM_JOINTS * 3)
"""Columns of the joints' velocities."""
ROTATIONS = slice(VELOCITIES.stop, VELOCITIES.stop + (NUM_JOINTS - 1) * 6)
"""Columns of the local rotations in 6D."""
NUM_FEATURES = ROTATIONS.stop
POINTS_PER_GROUP = 64
"""Number of a scene's points that enter the network as one token (`motion.denoiser.scene_tokens`)."""


def encode(
    joints: Float[Tensor, "*batch frame 24 3"], body_pose: Float[Tensor, "*batch frame 23 3 3"]
) -> Float[Tensor, "*batch frame 282"]:
    """Compute features from joints (m, Z up) and local rotations (eq. 4.7): positions, velocities, rotations in 6D."""
    velocities = torch.diff(joints, dim=-3, prepend=joints[..., :1, :, :])
    return torch.cat([joints.flatten(-2), velocities.flatten(-2), matrix_to_6d(body_pose).flatten(-2)], dim=-1)


def encode_sequence(sequence: MotionSequence) -> Float[Tensor, "person frame 282"]:
    """Compute the features of a record: not normalized, in the record's world, invalid frames included.

    Positions are metres, velocities metres per frame, zero in the first.
    """
    return encode(torch.from_numpy(sequence.joints), torch.from_numpy(sequence.body_pose))


def decode(
    features: Float[Tensor, "person frame 282"], body: Body, betas: Float[Tensor, "person 10"]
) -> SmplParameters:
    """Convert features to bodies whose pelvis and root follow the positions and whose limbs follow the rotations.

    Their joints have the body's bone lengths whatever the network predicted.
    """
    positions = features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3))
    body_pose = matrix_from_6d(features[..., ROTATIONS].unflatten(-1, (NUM_JOINTS - 1, 6)))
    rest = body.rest_joints(betas)[:, None].expand_as(positions)
    rotations = torch.cat([root_orientation(positions, rest)[..., None, :, :], body_pose], dim=-3)
    return SmplParameters.from_pelvis(positions[..., 0, :], rotations, betas, body)


@dataclass(frozen=True)
class Normalizer:
    """Mean and standard deviation per feature of the training set."""

    mean: Float[Tensor, " feature"]
    """Mean of each feature, in its own unit."""
    std: Float[Tensor, " feature"]
    """Standard deviation of each feature, in its own unit."""

    # A feature that never moves (the hands of mocap without fingers) would otherwise be divided by ~0.
    MIN_STD = 1e-3

    def to(self, device: torch.device) -> "Normalizer":
        """Move both to `device`."""
        return Normalizer(self.mean.to(device), self.std.to(device))

    def normalize(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Subtract the mean and divide by the standard deviation."""
        return (features - self.mean) / self.std

    def denormalize(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Undo `normalize`."""
        return features * self.std + self.mean


@dataclass(frozen=True)
class Moments:
    """Count, mean and summed squared deviation of feature frames, which merge exactly over blocks of any size.

    Chan, Golub & LeVeque 1983, the pairwise form of Welford's update; double precision.
    """

    count: int
    """Number of frames."""
    mean: Float[Tensor, " feature"]
    """Mean of each feature."""
    squares: Float[Tensor, " feature"]
    """Sum of the squared deviations from the mean."""

    @classmethod
    def of(cls, frames: Float[Tensor, "frame feature"]) -> "Moments":
        """Compute the moments of one block of frames."""
        frames = frames.double()
        mean = frames.mean(dim=0)
        return cls(len(frames), mean, (frames - mean).square().sum(dim=0))

    def merge(self, other: "Moments") -> "Moments":
        """Combine the moments of two blocks."""
        count = self.count + other.count
        step = other.mean - self.mean
        squares = self.squares + other.squares + step.square() * (self.count * other.count / count)
        return Moments(count, self.mean + step * (other.count / count), squares)

    def normalizer(self) -> Normalizer:
        """Make the normalizer of these moments; standard deviations are at least `Normalizer.MIN_STD`."""
        std = (self.squares / self.count).sqrt().clamp_min(Normalizer.MIN_STD)
        return Normalizer(self.mean.float(), std.float())
