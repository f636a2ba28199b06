"""Fitting of a posed body to joint positions of any source.

World: Z up, metres. The bones' directions of the source are kept and the body's own lengths, fitted to the source's by
its shape (`Body.fit_betas`), are put on them (`kinematics.pose_from_joints`). A source that lacks joints gets them as
the rest body has them in the frames of its hips, trunk and shoulders.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import Body
from motion.clips.sanity import STATURE
from motion.errors import InputError
from motion.kinematics import pose_from_joints
from motion.rotations import rotate
from motion.skeleton import JOINT, NUM_JOINTS, PARENTS
from motion.smpl_parameters import SmplParameters

LIMBS = tuple(
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
NEEDED = {"neck"} | {name for limb in LIMBS for name in limb}
"""Joints that `fit_joints` cannot do without: neck, hips, knees, ankles, shoulders, elbows and wrists."""
SPINE = ("spine1", "spine2", "spine3")
MIN_SIZE = 1e-3  # metres, or square metres
HUMAN_M = (0.5, 2.5)  # statures, of toddlers to giants


def fit_joints(positions: Float[Tensor, "person frame joint 3"], names: Sequence[str], body: Body) -> SmplParameters:
    """Fit the body's shape and pose to positions (m, Z up) of the joints `names` (SMPL's).

    Needed are neck, hips, knees, ankles, shoulders, elbows and wrists; any others may be there. The middle of the hips
    follows its path, scaled by the ratio of the legs, because feet would skate where the shape cannot reach the
    source's proportions. Heights are scaled for each person, so that no one floats; horizontal paths are scaled by the
    mean of all persons about the point where they start, so that persons who meet still do. A source whose "pelvis" is
    the middle of the hips (BVH, DeepMimic) should leave it out, and likewise spine joints that lie elsewhere than
    SMPL's. Raises InputError where joints are missing, not finite or coincide.
    """
    _check(positions, names)
    joints, known = _all_joints(positions.float(), names)
    betas = body.fit_betas(joints, known)
    rest = body.rest_joints(betas)
    rotations = pose_from_joints(_complete(joints, known, rest), rest)
    # Unscaled, feet on the floor slide 0.039 m/s on Bandai-Namco's clips and 0.116 on CMU's; scaled 0.027 and 0.094, as
    # the sources' own feet do (0.027 and 0.095).
    hips = _scaled_path(joints, rest)
    pelvis = hips - torch.einsum("ptij,pj->pti", rotations[:, :, 0], _middle(rest, "hip") - rest[:, 0])
    return SmplParameters.from_pelvis(pelvis, rotations, betas, body)


def fit_files(
    files: Sequence[str], positions: Float[Tensor, "person frame joint 3"], names: Sequence[str], body: Body
) -> SmplParameters:
    """Call `fit_joints`; an InputError then names the file(s) of the persons, also where these are of no human size."""
    try:
        pose = fit_joints(positions, names, body)
    except InputError as error:
        raise InputError(f"{', '.join(files)}: {error}") from error
    for person, tall in enumerate(stature(positions, names, body).tolist(), 1):
        if not HUMAN_M[0] < tall < HUMAN_M[1]:
            raise InputError(
                f"{', '.join(files)}: person {person} is {tall:.3g} m tall, expected a human of {HUMAN_M[0]} to "
                f"{HUMAN_M[1]} m; positions may be in another unit than metres"
            )
    return pose


def stature(
    positions: Float[Tensor, "person frame joint 3"], names: Sequence[str], body: Body
) -> Float[Tensor, " person"]:
    """Estimate how tall persons are (m): the body's own stature, by the ratio of their legs and trunk to its own."""
    joints, _ = _all_joints(positions, names)
    betas = torch.zeros(1, 10)
    rest = body.rest_joints(betas)[:, None]
    return body.stature(betas) * _size(joints) / _size(rest)


def stature_note(positions: Float[Tensor, "person frame joint 3"], names: Sequence[str], body: Body) -> dict[str, str]:
    """Write the statures for a motion's provenance, where `motion.clips.sanity` looks for them."""
    return {STATURE: ", ".join(f"{tall:.2f}" for tall in stature(positions, names, body).tolist())}


def _size(joints: Float[Tensor, "person frame 24 3"]) -> Float[Tensor, " person"]:
    trunk = (joints[:, :, JOINT["neck"]] - _middle(joints, "hip")).norm(dim=-1).median(dim=-1).values
    return _leg_length(joints) + trunk


def _check(positions: Float[Tensor, "person frame joint 3"], names: Sequence[str]) -> None:
    unknown, missing = sorted(set(names) - set(JOINT)), sorted(NEEDED - set(names))
    if unknown or len(set(names)) < len(names) or len(names) != positions.shape[2]:
        raise InputError(f"joint names are {', '.join(names)}, expected {positions.shape[2]} different ones of SMPL's")
    if missing:
        raise InputError(f"the joints {', '.join(missing)} are missing, expected at least limbs and neck")
    if not positions.isfinite().all():
        raise InputError("joint positions hold NaN or infinity, expected finite metres")
    at = {name: positions[:, :, number] for number, name in enumerate(names)}
    trunk = at["neck"] - (at["left_hip"] + at["right_hip"]) / 2
    for start, end in LIMBS:
        _check_some(f"the distance from {start} to {end}", (at[end] - at[start]).norm(dim=-1))
    for line in ("hip", "shoulder"):
        across = at[f"left_{line}"] - at[f"right_{line}"]
        _check_some(f"the trunk's extent across the {line}s", torch.linalg.cross(across, trunk, dim=-1).norm(dim=-1))


def _check_some(what: str, size: Float[Tensor, "person frame"]) -> None:
    person, frame = np.unravel_index(int(size.argmin()), size.shape)
    if size[person, frame] < MIN_SIZE:
        raise InputError(f"{what} is {float(size[person, frame]):.2g} in frame {frame}, expected a human's")


def _all_joints(
    positions: Float[Tensor, "person frame joint 3"], names: Sequence[str]
) -> tuple[Float[Tensor, "person frame 24 3"], Bool[Tensor, "24"]]:
    """Put positions into SMPL's order, zero where the source has none, and tell which it has."""
    joints = positions.new_zeros(*positions.shape[:2], NUM_JOINTS, 3)
    at = [JOINT[name] for name in names]
    joints[:, :, at] = positions
    known = torch.zeros(NUM_JOINTS, dtype=torch.bool)
    known[at] = True
    return joints, known


def _complete(
    joints: Float[Tensor, "person frame 24 3"], known: Bool[Tensor, "24"], rest: Float[Tensor, "person 24 3"]
) -> Float[Tensor, "person frame 24 3"]:
    """Fill in all 24 joints; head, hands and feet that are missing lie on their parents, which says "at rest"."""
    joints = joints.clone()
    rest = rest[:, None]
    trunk = [name for name in (*SPINE, "neck") if known[JOINT[name]]]
    pelvis = _frame(joints, rest, "hip", trunk[0], across_first=True)
    if not known[0]:
        joints[:, :, 0] = _middle(joints, "hip") + rotate(pelvis, rest[:, :, 0] - _middle(rest, "hip"))
    chest = _frame(joints, rest, "shoulder", "neck", across_first=False)
    _place_spine(joints, known, rest, pelvis, chest)
    for side in ("left", "right"):
        if not known[JOINT[f"{side}_collar"]]:
            _place_collar(joints, rest, chest, side)
    for leaf in ("head", "left_foot", "right_foot", "left_hand", "right_hand"):
        if not known[JOINT[leaf]]:
            joints[:, :, JOINT[leaf]] = joints[:, :, PARENTS[JOINT[leaf]]]
    return joints


def _place_spine(
    joints: Float[Tensor, "person frame 24 3"],
    known: Bool[Tensor, "24"],
    rest: Float[Tensor, "person 1 24 3"],
    pelvis: Float[Tensor, "person frame 3 3"],
    chest: Float[Tensor, "person frame 3 3"],
) -> None:
    """Place missing spine joints on a curve that leaves the pelvis and arrives at the neck as the rest body's does."""
    at = [JOINT[name] for name in ("pelvis", *SPINE, "neck")]
    bones = rest[:, :, at].diff(dim=2)
    weight = torch.linspace(0, 1, len(at) - 1)[:, None]
    steps = torch.lerp(rotate(pelvis[:, :, None], bones), rotate(chest[:, :, None], bones), weight)
    # What the source's trunk is longer or shorter than the body's is spread over the steps.
    gap = joints[:, :, at[-1:]] - joints[:, :, at[:1]] - steps.sum(dim=2, keepdim=True)
    share = bones.norm(dim=-1, keepdim=True)
    places = joints[:, :, at[:1]] + (steps + gap * share / share.sum(dim=2, keepdim=True)).cumsum(dim=2)
    for number, joint in enumerate(at[1:-1]):
        if not known[joint]:
            joints[:, :, joint] = places[:, :, number]


def _place_collar(
    joints: Float[Tensor, "person frame 24 3"],
    rest: Float[Tensor, "person 1 24 3"],
    chest: Float[Tensor, "person frame 3 3"],
    side: str,
) -> None:
    """Place a collar as it rests on the chest; the arm moves along so that the shoulder rests on it in the median.

    Other movement of the shoulder stays and lifts the collar bone.
    """
    neck = joints[:, :, JOINT["neck"]]
    collar, shoulder = JOINT[f"{side}_collar"], JOINT[f"{side}_shoulder"]
    own = rest[:, :, shoulder] - rest[:, :, JOINT["neck"]]
    seen = torch.einsum("ptji,ptj->pti", chest, joints[:, :, shoulder] - neck)
    moved = rotate(chest, own - seen.median(dim=1, keepdim=True).values)
    arm = [JOINT[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand")]
    joints[:, :, arm] += moved[:, :, None]
    joints[:, :, collar] = neck + rotate(chest, rest[:, :, collar] - rest[:, :, JOINT["neck"]])


def _frame(
    joints: Float[Tensor, "person frame 24 3"],
    rest: Float[Tensor, "person 1 24 3"],
    line: str,
    top: str,
    across_first: bool,
) -> Float[Tensor, "person frame 3 3"]:
    """Compute the rotation that carries the rest body's line across hips or shoulders and its trunk onto those seen.

    One of the two, named by `across_first`, comes out exactly.
    """

    def axes(at: Tensor) -> Tensor:
        across = at[..., JOINT[f"left_{line}"], :] - at[..., JOINT[f"right_{line}"], :]
        up = at[..., JOINT[top], :] - _middle(at, "hip")
        first, second = (across, up) if across_first else (up, across)
        x = torch.nn.functional.normalize(first, dim=-1)
        z = torch.nn.functional.normalize(torch.linalg.cross(x, second, dim=-1), dim=-1)
        return torch.stack([x, torch.linalg.cross(z, x, dim=-1), z], dim=-1)

    return axes(joints) @ axes(rest).mT


def _scaled_path(
    joints: Float[Tensor, "person frame 24 3"], rest: Float[Tensor, "person 24 3"]
) -> Float[Tensor, "person frame 3"]:
    """Scale the path of the hips' middle: heights by the ratio of each person's legs, level ways by that of all."""
    hips = _middle(joints, "hip")
    ratio = _leg_length(rest[:, None]) / _leg_length(joints)
    level = ratio.mean().expand_as(ratio)
    scale = torch.stack([level, level, ratio], dim=-1)[:, None]
    start = hips[:, 0].mean(dim=0) * torch.tensor([1.0, 1.0, 0.0])
    return start + scale * (hips - start)


def _leg_length(joints: Float[Tensor, "person frame 24 3"]) -> Float[Tensor, " person"]:
    bones = [(JOINT[a], JOINT[b]) for a, b in LIMBS if a.endswith(("hip", "knee"))]
    lengths = torch.stack([(joints[:, :, a] - joints[:, :, b]).norm(dim=-1) for a, b in bones])
    return lengths.median(dim=-1).values.sum(dim=0) / 2


def _middle(joints: Float[Tensor, "*batch 24 3"], name: str) -> Float[Tensor, "*batch 3"]:
    return (joints[..., JOINT[f"left_{name}"], :] + joints[..., JOINT[f"right_{name}"], :]) / 2
