"""Persons as SMPL parameters in one frame of reference, on their way through a reconstruction.

Metres and rotation matrices; the frame is the camera's (OpenCV axes) until the floor is found and the Z-up world
afterwards. `valid` is True where a person is known; other frames may hold anything finite.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import Body
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters
from recon.keypoints import BodyKeypoints


@dataclass(frozen=True, eq=False)
class People(SmplParameters):
    """Persons of one sequence: SMPL parameters (person, frame), and where they are known."""

    valid: Bool[Tensor, "*batch"]
    """True where a person is known; other frames may hold anything finite."""

    def keypoints(self, body: Body, keypoints: BodyKeypoints) -> Float[Tensor, "person frame keypoint 3"]:
        """Compute keypoint positions in the frame of reference (metres)."""
        return keypoints.positions(*self.kinematics(body), self.betas[:, None])


def people_of(motion: MotionSequence) -> People:
    """Take the persons of a record, in the record's world."""
    return People(**vars(motion.parameters), valid=torch.from_numpy(motion.valid))
