"""InterGen's 262 and SceneInterGen's 286 numbers a frame (`motion.representations`)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from motion.clips.transforms import to_z_up
from motion.features import encode
from motion.representations.contacts import CONTACT_HEIGHTS_M, INTERGEN_STILL_M2, slow_feet
from motion.representations.y_up import NUM_JOINTS, from_start, joints_of, to_y_up, yaw_of
from motion.rotations import matrix_to_6d
from motion.sequence import MotionSequence
from motion.skeleton import FEET, MIRRORED, to_the_right

INTERGEN_FPS = 30
MIRROR = MIRRORED[:NUM_JOINTS]


def intergen_262(sequence: MotionSequence) -> Float[Tensor, "person step 262"]:
    """Encode all persons of a 30 fps record, as seen from the start of person 0.

    Raises InputError for another rate, a single frame or persons who are not always valid.
    """
    rotations = matrix_to_6d(torch.from_numpy(sequence.body_pose[:, :, : NUM_JOINTS - 1]))
    return encode_262(joints_of(sequence, INTERGEN_FPS), rotations)


def split_492(columns: Float[Tensor, "frame 492"]) -> tuple[Float[Tensor, "frame 22 3"], Float[Tensor, "frame 21 6"]]:
    """Read joints and local rotations (our 6D order) from one person's file of InterHuman, without the fingers.

    Such a file holds 62 joints, then the rotations of 51.
    """
    joints, rotations = columns[:, : 62 * 3].unflatten(1, (62, 3)), columns[:, 62 * 3 :].unflatten(1, (51, 6))
    return joints[:, :NUM_JOINTS], rotations[:, : NUM_JOINTS - 1]


def mirror(
    joints: Float[Tensor, "*batch 22 3"], rotations: Float[Tensor, "*batch 21 6"]
) -> tuple[Float[Tensor, "*batch 22 3"], Float[Tensor, "*batch 21 6"]]:
    """Exchange left and right at the plane x = 0, as InterGen doubles its data."""
    signs = rotations.new_tensor([1, -1, -1, 1, -1, 1])  # of M R M with M = diag(-1, 1, 1)
    joints = joints[..., MIRROR, :] * joints.new_tensor([-1, 1, 1])
    return joints, rotations[..., [joint - 1 for joint in MIRROR[1:]], :] * signs


def encode_262(
    joints: Float[Tensor, "person frame 22 3"], rotations: Float[Tensor, "person frame 21 6"]
) -> Float[Tensor, "person frame-1 262"]:
    """Encode joints at 30 fps as InterGen's numbers; the rotations are copied unchanged.

    InterGen starts each person alone and then moves the second to where they are from the first; to start all from
    person 0 comes to the same.
    """
    upright = to_y_up(joints.double())
    first = upright[:1, 0]
    placed = from_start(upright, first[..., 0, :], yaw_of(to_the_right(first, "hip")))
    low = placed[:, :-1, FEET, 1] < placed.new_tensor(CONTACT_HEIGHTS_M)
    parts = [
        placed[:, :-1].flatten(-2),
        placed.diff(dim=1).flatten(-2),
        rotations[:, :-1].flatten(-2),
        slow_feet(placed, INTERGEN_STILL_M2) * low,
    ]
    return torch.cat(parts, dim=-1).to(joints.dtype)


def joints_from_262(features: Float[Tensor, "person frame 262"]) -> Float[Tensor, "person frame 22 3"]:
    """Read the positions of all persons among InterGen's numbers."""
    return to_z_up(features[..., : NUM_JOINTS * 3].unflatten(-1, (NUM_JOINTS, 3)))


def encode_286(
    joints: Float[Tensor, "person frame 24 3"], body_pose: Float[Tensor, "person frame 23 3 3"]
) -> Float[Tensor, "person frame 286"]:
    """Encode SceneInterGen's numbers; no foot is in contact on frame 0."""
    low = joints[:, 1:, FEET, 2] < joints.new_tensor(CONTACT_HEIGHTS_M)
    contacts = pad(slow_feet(joints, INTERGEN_STILL_M2) * low, (0, 0, 1, 0))
    return torch.cat([encode(joints, body_pose), contacts], dim=-1)
