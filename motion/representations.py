"""Motions as the field's models and evaluators take them: HumanML3D's 263, InterGen's 262, SceneInterGen's 286 numbers.

Joints go in and come out Z up, in metres, the first 22 of SMPL; their rotations, where a format has its own, are
SMPL's local ones. HumanML3D and InterGen are Y up inside, stand on the clip's lowest joint and start over the
origin, facing +Z (our -Y). Their frames hold the step to the next frame, so there is one fewer than in the motion.

    HumanML3D (Guo et al. 2022), 20 fps     half the turn to the right 1, pelvis step along X and Z 2, pelvis height 1,
        joints 21 x 3, rotations 21 x 6, joint steps 22 x 3, all these as seen along the heading, foot contacts 4
    InterGen (Liang et al. 2024), 30 fps    joints 22 x 3, joint steps 22 x 3, rotations 21 x 6, foot contacts 4
    SceneInterGen (the thesis' code)        the 282 of `motion.features`, foot contacts 4; all 24 joints, Z up;
        `motion.features.decode` of the first 282 gives the pose

What one would not expect in these formats is kept, because the models were trained on it:

- HumanML3D's heading takes the hips' line the wrong way round, is smoothed over some seconds, and is +Z on frame 0
  whatever comes next. Its rotations are shortest arcs from an idealized skeleton, which know no twist, and its
  arms turn relative to the pelvis instead of the chest.
- InterGen stands each person on their own lowest joint, so someone lying in a bed comes down to the floor. Its
  rotations lie in our 6D order, as its files and its mirroring have them, not in HumanML3D's.
- A foot in contact is slow in HumanML3D; also low at the first frame of the step in InterGen, at the second in
  SceneInterGen.

One thing is mended: where a person turns through the direction opposite to the first frame's, HumanML3D's arcsine
gives that one turn the wrong sign and the rest of the motion comes back turned. Here its sign is right.
"""

from math import pi

import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn.functional import normalize, pad

from motion.datasets.unify import to_z_up
from motion.errors import InputError
from motion.features import encode
from motion.rotations import (
    columns_first,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
    rows_first,
    shortest_rotation,
)
from motion.sequence import MotionSequence
from motion.skeleton import FEET, JOINT, MIRRORED, PARENTS

NUM_JOINTS = 22
HUMANML3D_FPS = 20
INTERGEN_FPS = 30

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
HEADING_SMOOTHING = 20.0  # standard deviation in frames

HUMANML3D_STILL = 0.002  # squared metres per frame below which a foot is in contact
INTERGEN_STILL = 0.001
CONTACT_HEIGHTS = (0.12, 0.05, 0.12, 0.05)  # metres; left ankle and foot, right ankle and foot

MIRROR = MIRRORED[:NUM_JOINTS]


def humanml3d_263(
    sequence: MotionSequence, lengths: Float[Tensor, "22"] | None = None
) -> Float[Tensor, "person step 263"]:
    """Each person of a 20 fps record alone; on bones of the given `lengths` (m), where these are given.

    HumanML3D's own people all have the bones of one of its clips: `bone_lengths` of any of its joints.
    """
    joints = _joints_of(sequence, HUMANML3D_FPS)
    if lengths is not None:
        joints = torch.stack([uniform_skeleton(person, lengths) for person in joints])
    return encode_263(joints)


def bone_lengths(joints: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 22"]:
    """Length of the bone that ends in each joint; 0 for the pelvis."""
    return pad(_bones(joints).norm(dim=-1), (1, 0))


def uniform_skeleton(joints: Float[Tensor, "frame 22 3"], lengths: Float[Tensor, "22"]) -> Float[Tensor, "frame 22 3"]:
    """The same directions of all bones on other lengths, which is how HumanML3D makes all people alike.

    The pelvis' path and height scale with the right leg, whose length is that of frame 0.
    """
    leg = [JOINT["right_knee"], JOINT["right_ankle"]]
    placed = [joints[:, 0] * lengths[leg].sum() / bone_lengths(joints[0])[leg].sum()]
    bones = normalize(_bones(joints), dim=-1) * lengths[1:, None]
    for child in range(1, NUM_JOINTS):
        placed.append(placed[PARENTS[child]] + bones[:, child - 1])
    return torch.stack(placed, dim=1)


def encode_263(joints: Float[Tensor, "*batch frame 22 3"]) -> Float[Tensor, "*batch frame-1 263"]:
    """HumanML3D's numbers of people whose joints are given at 20 fps."""
    upright = _to_y_up(joints.double())
    first = upright[..., 0, :, :]
    placed = _from_start(upright, first[..., 0, :], _yaw(_hips(first) + _shoulders(first)))
    yaw = _heading(placed)
    turn = (yaw.diff(dim=-1) + pi) % (2 * pi) - pi
    steps = placed.diff(dim=-3)
    local = _turn(-yaw[..., None], placed - _on_ground(placed[..., :1, :]))
    parts = [
        -turn[..., None] / 2,
        _turn(-yaw[..., 1:], steps[..., 0, :])[..., [0, 2]],
        local[..., :-1, 0, 1:2],
        local[..., :-1, 1:, :].flatten(-2),
        columns_first(matrix_to_6d(_bone_rotations(placed, yaw)))[..., :-1, :, :].flatten(-2),
        _turn(-yaw[..., :-1, None], steps).flatten(-2),
        _slow_feet(placed, HUMANML3D_STILL),
    ]
    return torch.cat(parts, dim=-1).to(joints.dtype)


def joints_from_263(features: Float[Tensor, "*batch frame 263"]) -> Float[Tensor, "*batch frame 22 3"]:
    """The positions among HumanML3D's numbers."""
    yaw, pelvis = _path(features.double())
    local = features[..., LOCAL_JOINTS].double().unflatten(-1, (NUM_JOINTS - 1, 3))
    joints = _turn(yaw[..., None], local) + _on_ground(pelvis)[..., None, :]
    return to_z_up(torch.cat([pelvis[..., None, :], joints], dim=-2)).to(features.dtype)


def joints_from_263_rotations(
    features: Float[Tensor, "*batch frame 263"], lengths: Float[Tensor, "22"]
) -> Float[Tensor, "*batch frame 22 3"]:
    """The positions that follow from HumanML3D's rotations on bones of the given lengths (m)."""
    yaw, pelvis = _path(features.double())
    local = matrix_from_6d(rows_first(features[..., LOCAL_ROTATIONS].double().unflatten(-1, (NUM_JOINTS - 1, 6))))
    bones = DIRECTIONS.to(pelvis) * lengths[:, None]
    rotations, joints = [_about_y(-yaw)], [pelvis]
    for child in range(1, NUM_JOINTS):
        rotations.append(rotations[BASES[child]] @ local[..., child - 1, :, :])
        joints.append(joints[PARENTS[child]] + rotations[child] @ bones[child])
    return to_z_up(torch.stack(joints, dim=-2)).to(features.dtype)


def intergen_262(sequence: MotionSequence) -> Float[Tensor, "person step 262"]:
    """All persons of a 30 fps record, where they are as seen from the start of person 0."""
    rotations = matrix_to_6d(torch.from_numpy(sequence.body_pose[:, :, : NUM_JOINTS - 1]))
    return encode_262(_joints_of(sequence, INTERGEN_FPS), rotations)


def split_492(columns: Float[Tensor, "frame 492"]) -> tuple[Float[Tensor, "frame 22 3"], Float[Tensor, "frame 21 6"]]:
    """Joints and local rotations (our 6D order) in one person's file of InterHuman, without the fingers.

    Such a file holds 62 joints, then the rotations of 51.
    """
    joints, rotations = columns[:, : 62 * 3].unflatten(1, (62, 3)), columns[:, 62 * 3 :].unflatten(1, (51, 6))
    return joints[:, :NUM_JOINTS], rotations[:, : NUM_JOINTS - 1]


def mirror(
    joints: Float[Tensor, "*batch 22 3"], rotations: Float[Tensor, "*batch 21 6"]
) -> tuple[Float[Tensor, "*batch 22 3"], Float[Tensor, "*batch 21 6"]]:
    """Left and right exchanged at the plane x = 0, as InterGen doubles its data."""
    signs = rotations.new_tensor([1, -1, -1, 1, -1, 1])  # of M R M with M = diag(-1, 1, 1)
    joints = joints[..., MIRROR, :] * joints.new_tensor([-1, 1, 1])
    return joints, rotations[..., [joint - 1 for joint in MIRROR[1:]], :] * signs


def encode_262(
    joints: Float[Tensor, "person frame 22 3"], rotations: Float[Tensor, "person frame 21 6"]
) -> Float[Tensor, "person frame-1 262"]:
    """InterGen's numbers of people whose joints are given at 30 fps; the rotations go through as they are.

    InterGen starts each person alone and then moves the second to where they are from the first; to start all
    from person 0 comes to the same.
    """
    upright = _to_y_up(joints.double())
    first = upright[:1, 0]
    placed = _from_start(upright, first[..., 0, :], _yaw(_hips(first)))
    low = placed[:, :-1, FEET, 1] < placed.new_tensor(CONTACT_HEIGHTS)
    parts = [
        placed[:, :-1].flatten(-2),
        placed.diff(dim=1).flatten(-2),
        rotations[:, :-1].flatten(-2),
        _slow_feet(placed, INTERGEN_STILL) * low,
    ]
    return torch.cat(parts, dim=-1).to(joints.dtype)


def joints_from_262(features: Float[Tensor, "person frame 262"]) -> Float[Tensor, "person frame 22 3"]:
    """The positions of all persons among InterGen's numbers."""
    return to_z_up(features[..., : NUM_JOINTS * 3].unflatten(-1, (NUM_JOINTS, 3)))


def encode_286(
    joints: Float[Tensor, "person frame 24 3"], body_pose: Float[Tensor, "person frame 23 3 3"]
) -> Float[Tensor, "person frame 286"]:
    """SceneInterGen's numbers; no foot is in contact on frame 0."""
    low = joints[:, 1:, FEET, 2] < joints.new_tensor(CONTACT_HEIGHTS)
    contacts = pad(_slow_feet(joints, INTERGEN_STILL) * low, (0, 0, 1, 0))
    return torch.cat([encode(joints, body_pose), contacts], dim=-1)


def _joints_of(sequence: MotionSequence, fps: int) -> Float[Tensor, "person frame 22 3"]:
    """The joints of a record that the formats can hold: at their rate, and with everyone there all the time."""
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


def _to_y_up(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return points[..., [0, 2, 1]] * points.new_tensor([1, 1, -1])


# From here on all is Y up.


def _on_ground(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return points * points.new_tensor([1, 0, 1])


def _about_y(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    return matrix_from_axis_angle(angle[..., None] * angle.new_tensor([0, 1, 0]))


def _turn(angle: Float[Tensor, "..."], points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    return torch.einsum("...ij,...j->...i", _about_y(angle), points)


def _hips(joints: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 3"]:
    """From the left one to the right one."""
    return joints[..., JOINT["right_hip"], :] - joints[..., JOINT["left_hip"], :]


def _shoulders(joints: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 3"]:
    return joints[..., JOINT["right_shoulder"], :] - joints[..., JOINT["left_shoulder"], :]


def _yaw(to_the_right: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Angle from +Z to the direction that someone with that right side faces."""
    return torch.atan2(to_the_right[..., 2], -to_the_right[..., 0])


def _from_start(
    joints: Float[Tensor, "*batch frame 22 3"], pelvis: Float[Tensor, "*start 3"], yaw: Float[Tensor, "*start"]
) -> Float[Tensor, "*batch frame 22 3"]:
    """Moved and turned so that this pelvis comes over the origin and this heading to +Z, with the lowest joint at 0."""
    lowest = joints[..., 1].amin(dim=(-2, -1))[..., None] * joints.new_tensor([0, 1, 0])
    return _turn(-yaw[..., None, None], joints - (_on_ground(pelvis) + lowest)[..., None, None, :])


def _heading(joints: Float[Tensor, "*batch frame 22 3"]) -> Float[Tensor, "*batch frame"]:
    """HumanML3D's smooth heading, which starts at 0."""
    right = normalize(_shoulders(joints) - _hips(joints), dim=-1)
    smooth = gaussian_filter1d(right.numpy(), HEADING_SMOOTHING, axis=-2, mode="nearest")
    return pad(_yaw(torch.from_numpy(smooth))[..., 1:], (1, 0))


def _bones(joints: Float[Tensor, "*batch 22 3"]) -> Float[Tensor, "*batch 21 3"]:
    return joints[..., 1:, :] - joints[..., PARENTS[1:NUM_JOINTS], :]


def _bone_rotations(
    joints: Float[Tensor, "*batch frame 22 3"], yaw: Float[Tensor, "*batch frame"]
) -> Float[Tensor, "*batch frame 21 3 3"]:
    """HumanML3D's inverse kinematics: arcs from its idealized skeleton, each relative to the bone before.

    The chain starts from the turn that undoes the heading, not from the heading.
    """
    bones = _bones(joints)
    arcs = shortest_rotation(DIRECTIONS[1:].expand_as(bones), bones)
    world = torch.cat([_about_y(-yaw)[..., None, :, :], arcs], dim=-3)
    return world[..., BASES[1:], :, :].mT @ arcs


def _path(
    features: Float[Tensor, "*batch frame 263"],
) -> tuple[Float[Tensor, "*batch frame"], Float[Tensor, "*batch frame 3"]]:
    """Heading and pelvis, summed up over HumanML3D's turns and steps."""
    yaw = -2 * pad(features[..., :-1, TURN], (1, 0)).cumsum(dim=-1)
    x, z = pad(features[..., :-1, STEP], (0, 0, 1, 0)).unbind(dim=-1)
    pelvis = _turn(yaw, torch.stack([x, torch.zeros_like(x), z], dim=-1)).cumsum(dim=-2)
    return yaw, torch.cat([pelvis[..., :1], features[..., HEIGHT, None], pelvis[..., 2:]], dim=-1)


def _slow_feet(joints: Float[Tensor, "*batch frame joint 3"], limit: float) -> Float[Tensor, "*batch frame-1 4"]:
    """1 where ankle or foot hardly moves to the next frame, else 0; either axis may be up."""
    return (joints[..., FEET, :].diff(dim=-3).square().sum(dim=-1) < limit).to(joints.dtype)
