"""Forward kinematics of the SMPL skeleton and its closed-form inverse at the root.

Positions are metres in the Z-up world, rotations are matrices. `rest_joints` are the body's T-pose joints in
SMPL's own frame (y up, facing +z, left = +x), as `motion.body.Body.rest_joints` gives them.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor

from motion.skeleton import JOINT, PARENTS


def forward_kinematics(
    rest_joints: Float[Tensor, "*batch 24 3"],
    transl: Float[Tensor, "*batch 3"],
    global_orient: Float[Tensor, "*batch 3 3"],
    body_pose: Float[Tensor, "*batch 23 3 3"],
) -> tuple[Float[Tensor, "*batch 24 3"], Float[Tensor, "*batch 24 3 3"]]:
    """World joints and world rotations of the 24 joints (SMPL: Loper et al. 2015, eq. 3-4).

    SMPL rotates about the rest pelvis, so the pelvis lies at `rest_joints[0] + transl`.
    """
    rotations = [global_orient]
    joints = [rest_joints[..., 0, :] + transl]
    for child in range(1, len(PARENTS)):
        parent = PARENTS[child]
        offset = rest_joints[..., child, :] - rest_joints[..., parent, :]
        joints.append(joints[parent] + torch.einsum("...ij,...j->...i", rotations[parent], offset))
        rotations.append(rotations[parent] @ body_pose[..., child - 1, :, :])
    return torch.stack(joints, dim=-2), torch.stack(rotations, dim=-3)


def root_orientation(
    joints: Float[Tensor, "*batch 24 3"], rest_joints: Float[Tensor, "*batch 24 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """The pelvis rotation that best carries the rest hips and spine onto the given ones.

    Hips and first spine joint hang rigidly on the pelvis, so this orthogonal Procrustes fit is exact for
    consistent joints. It replaces the thesis' 1000 Adam steps after eq. 4.7.
    """
    attached = [JOINT["left_hip"], JOINT["right_hip"], JOINT["spine1"]]
    seen = joints[..., attached, :] - joints[..., :1, :]
    rest = rest_joints[..., attached, :] - rest_joints[..., :1, :]
    return roma.special_procrustes(seen.mT @ rest)
