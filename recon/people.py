"""Persons as SMPL parameters in one frame of reference, on their way through a reconstruction.

Metres and rotation matrices; the frame is the camera's (OpenCV axes) until the floor is found and the Z-up world
afterwards. `valid` is True where a person is known; other frames may hold anything finite.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import Body
from motion.kinematics import forward_kinematics
from motion.sequence import MotionSequence
from recon.keypoints import BodyKeypoints


@dataclass(frozen=True, eq=False)
class People:
    """Persons of one sequence as SMPL parameters; `valid` is True where a person is known."""

    transl: Float[Tensor, "person frame 3"]
    global_orient: Float[Tensor, "person frame 3 3"]
    body_pose: Float[Tensor, "person frame 23 3 3"]
    betas: Float[Tensor, "person 10"]
    valid: Bool[Tensor, "person frame"]

    def kinematics(self, body: Body) -> tuple[Float[Tensor, "person frame 24 3"], Float[Tensor, "person frame 24 3 3"]]:
        """Compute joints (metres) and their rotations, both in the frame of reference."""
        rest = body.rest_joints(self.betas)[:, None].expand(-1, self.transl.shape[1], -1, -1)
        return forward_kinematics(rest, self.transl, self.global_orient, self.body_pose)

    def joints(self, body: Body) -> Float[Tensor, "person frame 24 3"]:
        """Compute joint positions in the frame of reference (metres)."""
        return self.kinematics(body)[0]

    def keypoints(self, body: Body, keypoints: BodyKeypoints) -> Float[Tensor, "person frame keypoint 3"]:
        """Compute keypoint positions in the frame of reference (metres)."""
        return keypoints.positions(*self.kinematics(body), self.betas[:, None])

    def moved(self, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, "3"], body: Body) -> "People":
        """In the frame of reference where a point p is `rotation p + translation`.

        Mends eq. 4.5 and 4.6 of the thesis: SMPL turns about the rest pelvis J0, so `O* = R O` and
        `transl* = R (transl + J0) + t - J0`; joints of the result are the moved joints.
        """
        pelvis = body.rest_joints(self.betas)[:, None, 0]
        transl = (self.transl + pelvis) @ rotation.T + translation - pelvis
        return replace(self, transl=transl, global_orient=rotation @ self.global_orient)


def people_of(motion: MotionSequence) -> People:
    """Take the persons of a record, in the record's world."""
    fields = (motion.transl, motion.global_orient, motion.body_pose, motion.betas, motion.valid)
    return People(*(torch.from_numpy(array) for array in fields))
