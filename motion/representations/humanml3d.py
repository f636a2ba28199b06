"""HumanML3D's 263 numbers of one person, and joints back from them (Guo et al. 2022; `motion.representations`)."""

from math import pi

import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import normalize, pad

from motion.clips.transforms import to_z_up
from motion.representations.contacts import HUMANML3D_STILL_M2, slow_feet
from motion.representations.y_up import (
    NUM_JOINTS,
    bones_of,
    from_start,
    joints_of,
    on_ground,
    to_y_up,
    turned,
    yaw_of,
)
from motion.rotations import (
    about,
    columns_first,
    matrix_from_6d,
    matrix_to_6d,
    rows_first,
    shortest_rotation,
)
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, PARENTS, to_the_right

HUMANML3D_FPS = 20

# Columns of the 263.
TURN, STEP, HEIGHT = 0, slice(1, 3), 3
LOCAL_JOINTS = slice(4, 67)
LOCAL_ROTATIONS = slice(67, 193)

# HumanML3D's idealized skeleton: the direction of the bone that ends in each joint (the arms hang), and the joint
# to which this bone's rotation is relative (of both collars, the pelvis).
DIRECTIONS = torch.tensor(
    [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0], [0, 1, 0], [0, -1, 0], [0, -1, 0]]
    + [[0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]]
    + 6 * [[0, -1, 0]],
    dtype=torch.float64,
)
BASES = (*PARENTS[:13], 0, 0, *PARENTS[15:NUM_JOINTS])
HEADING_SMOOTHING_FRAMES = 20.0  # standard deviation in frames


def humanml3d_263(
    sequence: MotionSequence, lengths: Float[Tensor, "22"] | None = None
) -> Float[Tensor, "person step 263"]:
    """Encode each person of a 20 fps record alone, with the bone `lengths` (m); None keeps the person's own bones.

    HumanML3D's own persons all have the bones of one of its clips: `bone_lengths` of any of its joints. Raises
    InputError for another rate, a single frame or persons who are not always valid.
    """
    joints = joints_of(sequence, HUMANML3D_FPS)
    if lengths is not None:
        joints = torch.stack([uniform_skeleton(person, lengths) for person in joints])
    return encode_263(joints)


def bone_lengths(joints: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 22"]:
    """Compute the length of the bone that ends in each joint; 0 for the pelvis."""
    return pad(bones_of(joints).norm(dim=-1), (1, 0))


def uniform_skeleton(joints: Float[Tensor, "frame 22 3"], lengths: Float[Tensor, "22"]) -> Float[Tensor, "frame 22 3"]:
    """Put a person's bones on other lengths (m), directions unchanged, which is how HumanML3D makes all persons alike.

    The pelvis' path and height scale with the right leg, whose length is that of frame 0.
    """
    leg = [JOINT["right_knee"], JOINT["right_ankle"]]
    placed = [joints[:, 0] * lengths[leg].sum() / bone_lengths(joints[0])[leg].sum()]
    bones = normalize(bones_of(joints), dim=-1) * lengths[1:, None]
    for child in range(1, NUM_JOINTS):
        placed.append(placed[PARENTS[child]] + bones[:, child - 1])
    return torch.stack(placed, dim=1)


def encode_263(joints: Float[Tensor, "*batch frame 22 3"]) -> Float[Tensor, "*batch frame-1 263"]:
    """Encode joints at 20 fps as HumanML3D's numbers."""
    upright = to_y_up(joints.double())
    first = upright[..., 0, :, :]
    placed = from_start(upright, first[..., 0, :], yaw_of(to_the_right(first, "hip", "shoulder")))
    yaw = _heading(placed)
    turn = (yaw.diff(dim=-1) + pi) % (2 * pi) - pi
    steps = placed.diff(dim=-3)
    local = turned(-yaw[..., None], placed - on_ground(placed[..., :1, :]))
    parts = [
        -turn[..., None] / 2,
        turned(-yaw[..., 1:], steps[..., 0, :])[..., [0, 2]],
        local[..., :-1, 0, 1:2],
        local[..., :-1, 1:, :].flatten(-2),
        columns_first(matrix_to_6d(_bone_rotations(placed, yaw)))[..., :-1, :, :].flatten(-2),
        turned(-yaw[..., :-1, None], steps).flatten(-2),
        slow_feet(placed, HUMANML3D_STILL_M2),
    ]
    return torch.cat(parts, dim=-1).to(joints.dtype)


def joints_from_263(features: Float[Tensor, "*batch frame 263"]) -> Float[Tensor, "*batch frame 22 3"]:
    """Read the joints' positions among HumanML3D's numbers."""
    yaw, pelvis = _path(features.double())
    local = features[..., LOCAL_JOINTS].double().unflatten(-1, (NUM_JOINTS - 1, 3))
    joints = turned(yaw[..., None], local) + on_ground(pelvis)[..., None, :]
    return to_z_up(torch.cat([pelvis[..., None, :], joints], dim=-2)).to(features.dtype)


def joints_from_263_rotations(
    features: Float[Tensor, "*batch frame 263"], lengths: Float[Tensor, "22"]
) -> Float[Tensor, "*batch frame 22 3"]:
    """Compute the positions that follow from HumanML3D's rotations on bones of the given lengths (m)."""
    yaw, pelvis = _path(features.double())
    local = matrix_from_6d(rows_first(features[..., LOCAL_ROTATIONS].double().unflatten(-1, (NUM_JOINTS - 1, 6))))
    bones = DIRECTIONS.to(pelvis) * lengths[:, None]
    rotations, joints = [about("y", -yaw)], [pelvis]
    for child in range(1, NUM_JOINTS):
        rotations.append(rotations[BASES[child]] @ local[..., child - 1, :, :])
        joints.append(joints[PARENTS[child]] + rotations[child] @ bones[child])
    return to_z_up(torch.stack(joints, dim=-2)).to(features.dtype)


# From here on all is Y up.


def _heading(joints: Float[Tensor, "*batch frame 22 3"]) -> Float[Tensor, "*batch frame"]:
    """Compute HumanML3D's smooth heading, which starts at 0."""
    right = normalize(to_the_right(joints, "shoulder") - to_the_right(joints, "hip"), dim=-1)
    smooth = gaussian_filter1d(right.numpy(), HEADING_SMOOTHING_FRAMES, axis=-2, mode="nearest")
    return pad(yaw_of(torch.from_numpy(smooth))[..., 1:], (1, 0))


def _bone_rotations(
    joints: Float[Tensor, "*batch frame 22 3"], yaw: Float[Tensor, "*batch frame"]
) -> Float[Tensor, "*batch frame 21 3 3"]:
    """Compute HumanML3D's inverse kinematics: arcs from its idealized skeleton, each relative to the bone before.

    The chain starts from the turn that undoes the heading, not from the heading.
    """
    bones = bones_of(joints)
    arcs = shortest_rotation(DIRECTIONS[1:].expand_as(bones), bones)
    world = torch.cat([about("y", -yaw)[..., None, :, :], arcs], dim=-3)
    return world[..., BASES[1:], :, :].mT @ arcs


def _path(
    features: Float[Tensor, "*batch frame 263"],
) -> tuple[Float[Tensor, "*batch frame"], Float[Tensor, "*batch frame 3"]]:
    """Sum HumanML3D's turns and steps up to heading and pelvis."""
    yaw = -2 * pad(features[..., :-1, TURN], (1, 0)).cumsum(dim=-1)
    x, z = pad(features[..., :-1, STEP], (0, 0, 1, 0)).unbind(dim=-1)
    pelvis = turned(yaw, torch.stack([x, torch.zeros_like(x), z], dim=-1)).cumsum(dim=-2)
    return yaw, torch.cat([pelvis[..., :1], features[..., HEIGHT, None], pelvis[..., 2:]], dim=-1)
