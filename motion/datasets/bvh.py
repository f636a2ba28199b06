"""BVH files of any skeleton whose joint names are known (`bvh_names`) or listed by the user.

    ROOT/ANY/FOLDER/NAME.bvh     a person for each ROOT in it; NAME.txt next to it may hold captions (see
                                 `clip.read_captions`)
    ROOT/pairs.csv               optional, columns person1,person2: files (relative to ROOT) of one recording of two
                                 persons in one space, which become one record with person 1's captions

Unit and up axis are found (`bvh_space`); a user may say them, and the names of joints (`BvhOptions`). cgspeed's Poser
names (hip, abdomen, lThigh …) put every subject on one figure of arbitrary size, so there the leg is taken to be 0.84
m. A pair has person 1's scale. A neck that is missing is made up.

Positions are copied for the joints that mean the same in SMPL; `joint_fitting.fit_joints` makes rotations of them. The
place of a skeleton's head joint above the neck, and of its toes before the ankle, is its own affair. So these are
placed from neck and ankles as the body has them, turned as in the file since the person stood upright, and the head
turns likewise: soles are flat on the floor and eyes look as they did. The T-pose that cgspeed put before each capture,
and its traces after resampling, are left out. Output: metres, Z up, the file's own frame rate.
"""

import csv
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation
from torch import Tensor

from motion.body import Body
from motion.clips.ground import settle
from motion.clips.sanity import STATURE_M
from motion.clips.transforms import to_z_up
from motion.datasets.bvh_file import Bvh, Joint, joint_transforms, read_bvh, split_persons, turn_z_up
from motion.datasets.bvh_names import Layout, find_layout
from motion.datasets.bvh_space import LEG_OF_STATURE, LONGEST_LEG_M, common_up_axis, find_scale, leg_length
from motion.datasets.clip import Clip, find_files, frame_range, to_record, with_sidecar
from motion.datasets.joint_fitting import fit_files, stature_note
from motion.errors import InputError
from motion.errors.text_files import read_text
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, JOINT_NAMES
from motion.smpl_parameters import SmplParameters

logger = logging.getLogger(__name__)

LICENCE = (
    "BVH files keep the licence of their source: CMU's captures may be used for anything but resale of the data, "
    "Bandai-Namco's are CC BY-NC 4.0, Mixamo's may not be redistributed."
)

MADE_UP = "made up"
MIN_LENGTH = 1e-9
FARTHEST_M = 1e4  # from the origin; beyond it a number is damage
# A T-pose put before a capture: arms this straight (distance of the wrists to length of both arms) and this level
# (height between the wrists to that length), left at a speed (m/s) that starts no motion. Resampled ones of CMU have
# 0.86 to 0.91, 0.03 to 0.08 and 26 to 30, then 23 to 29 and 16 to 20; Bandai-Namco's captures start at 9 or less.
T_POSE_STRAIGHT, T_POSE_LEVEL, T_POSE_SPEED_M_PER_S = 0.8, 0.1, 12.0
CARRIED = {"head": "neck", "left_foot": "left_ankle", "right_foot": "right_ankle"}
STANDING = [("right_hip", "left_hip")] + [
    (f"{side}_{start}", end.format(side))
    for side in ("left", "right")
    for start, end in (("hip", "neck"), ("hip", "{}_knee"), ("knee", "{}_ankle"))
]  # bones that lie alike in all upright persons, facing +z
ALIKE_RAD = math.radians(35)  # between bones of an upright skeleton and the body's, at most; CMU's legs differ by 20


@dataclass(frozen=True)
class BvhOptions:
    """Facts about BVH files that a user knows and the files do not say."""

    scale: float | None = None
    """Metres per unit of the files; None finds it by the length of a leg."""
    up_axis: Literal["auto", "y", "z"] = "auto"
    """Axis that points up; "auto" finds it by zero pose and frames."""
    names: Layout | None = None
    """Names of joints, tried before the known families (`bvh_names.read_names`)."""
    min_stature: float = STATURE_M[0]
    """Height in metres of the shortest person; a leg is at least 0.458 of it."""


def list_clips(root: Path) -> list[Clip]:
    """List all files under `root`, those of `pairs.csv` two by two, sorted by id.

    A described span of seconds is a clip of its own. Raises InputError if there is no .bvh.
    """
    names = [path.relative_to(root).as_posix() for path in find_files(root, ".bvh")]
    if not names:
        raise InputError(f"{root} holds no motion, expected .bvh files")
    pairs = _pairs(root / "pairs.csv")
    alone = set(names).difference(*pairs)
    clips = [_clip(root, files) for files in [*pairs, *((name,) for name in alone)]]
    sidecars = [Path(clip.files[0]).with_suffix(".txt") for clip in clips]
    if strays := sorted(set(find_files(root, ".txt")) - set(sidecars)):
        logger.warning(
            "%d text files under %s are no clip's captions, which NAME.txt beside NAME.bvh would be; the first is %s",
            *(len(strays), root, strays[0].name),
        )
    described = [with_sidecar(clip, sidecar) for clip, sidecar in zip(clips, sidecars, strict=True)]
    return sorted((clip for part in described for clip in part), key=lambda clip: clip.id)


def _pairs(path: Path) -> list[tuple[str, ...]]:
    if not path.is_file():
        return []
    expected = "expected columns person1,person2 of file names"
    lines = read_text(path, expected).splitlines()
    try:
        rows = [(row["person1"].strip(), row["person2"].strip()) for row in csv.DictReader(lines)]
    except (KeyError, AttributeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error!r}), {expected}") from error
    return list(dict.fromkeys(rows))


def _clip(root: Path, files: tuple[str, ...]) -> Clip:
    name = "+".join([str(Path(files[0]).with_suffix("")), *(Path(file).stem for file in files[1:])])
    missing = [file for file in files if not (root / file).is_file()]
    by = f"{root / 'pairs.csv'}: names" if (root / "pairs.csv").exists() else f"{root}: has a broken link named"
    problem = f"{by} {', '.join(missing)}, expected files in {root}" if missing else None
    return Clip(id=f"bvh/{name}", source="bvh", files=tuple(str(root / file) for file in files), problem=problem)


def read_clip(clip: Clip, body: Body, options: BvhOptions = BvhOptions()) -> MotionSequence:
    """Read the clip at its own frame rate, `body` fitted to its joints, floor on z = 0.

    Raises InputError where a file is damaged, its joints are unknown, or the persons of a pair do not match.
    """
    if clip.problem:
        raise InputError(clip.problem)
    files, people = _read_people(clip)
    family, layout = find_layout(files[0], people[0].names, options.names)
    _check_names(files, people, layout)
    neck = "the file's"
    if "neck" not in layout.joints:
        people = [_with_neck(file, bvh, layout, body) for file, bvh in zip(files, people, strict=True)]
        neck, layout = MADE_UP, replace(layout, joints=layout.joints | {"neck": MADE_UP})
    joints = list(layout.joints)
    up_axis = common_up_axis(files, people, layout) if options.up_axis == "auto" else options.up_axis
    if up_axis == "z":
        people = list(map(turn_z_up, people))
    axes = [_upright_axes(bvh, layout, body) for bvh in people]
    found = [_tracks(bvh, layout, joints, own, body) for bvh, own in zip(people, axes, strict=True)]
    tracks, heads = (np.stack(arrays) for arrays in zip(*found, strict=True))
    scale = options.scale or find_scale(files[0], tracks[0], joints, people[0].fps, layout.leg, options.min_stature)
    frames = frame_range(clip, people[0].fps, tracks.shape[1])
    positions = to_z_up(torch.from_numpy(scale * tracks[:, frames])).numpy()
    for file, person in zip(files, positions, strict=True):
        _check(file, person, joints, 0.0 if options.scale else options.min_stature)
    t_pose = max(_t_pose_frames(person, joints, people[0].fps) for person in positions)
    shown = torch.from_numpy(positions[:, t_pose:]).float()
    posed = fit_files(files, shown, joints, body)
    if all(axes):
        posed = _turn_heads(posed, torch.from_numpy(heads[:, frames][:, t_pose:]).float())
    provenance = {
        "joint_names": family,
        "neck": neck,
        "up_axis": up_axis,
        "metres_per_unit": f"{scale:.6g}",
        "head_and_feet": "turned as in the file" if all(axes) else "where the file has them",
        "t_pose_frames": str(t_pose),
    } | stature_note(shown, joints, body)
    return settle(to_record(clip, people[0].fps, posed, body, provenance), body)


def _read_people(clip: Clip) -> tuple[tuple[str, ...], list[Bvh]]:
    """Read the persons of all files, and the file of each; several ROOTs of a file are several persons."""
    found = [(file, person) for file in clip.files for person in split_persons(read_bvh(Path(file)))]
    files, people = tuple(file for file, _ in found), [person for _, person in found]
    first, *others = people
    for file, other in zip(files[1:], others, strict=True):
        if (other.fps, len(other.frames)) != (first.fps, len(first.frames)):
            raise InputError(
                f"{file}: has {len(other.frames)} frames at {other.fps:g} per second, expected {len(first.frames)} at "
                f"{first.fps:g} as {clip.files[0]} has, the other person of the pair"
            )
    return files, people


def _check_names(files: tuple[str, ...], people: list[Bvh], layout: Layout) -> None:
    for file, other in zip(files, people, strict=True):
        missing = [name for name in layout.joints.values() if name not in other.names]
        if missing:
            raise InputError(f"{file}: lacks the joints {', '.join(missing)}, expected those of the other person")


def _with_neck(file: str, bvh: Bvh, layout: Layout, body: Body) -> Bvh:
    """Add a neck that lies over the shoulders of the zero pose as the body's does, and moves with what bears both."""
    own = dict(zip(JOINT_NAMES, body.rest_joints(torch.zeros(10)).double().numpy(), strict=True))
    zero_pose = bvh.zero_pose()
    at = {joint: zero_pose[bvh.names.index(name)] for joint, name in layout.joints.items()}
    (seen, seen_middle, length), (rest, rest_middle, own_length) = map(_chest, (at, own))
    if np.linalg.det(seen) < 0.5:
        raise InputError(f"{file}: has no neck, and hips and shoulders on one line in its zero pose, expected a body's")
    neck = seen_middle + length / own_length * seen @ rest.T @ (own["neck"] - rest_middle)
    left, right = (_ancestors(bvh, layout.joints[f"{side}_shoulder"]) for side in ("left", "right"))
    bearer = next(joint for joint in left if joint in right)
    return replace(bvh, joints=(*bvh.joints, Joint(MADE_UP, bearer, neck - zero_pose[bearer], ())))


def _chest(
    at: dict[str, Float64[np.ndarray, "3"]],
) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3"], float]:
    """Compute the axes (left, up, forward) and the middle of the shoulders, and the trunk's length up to there."""
    hips, shoulders = ((at[f"left_{joint}"] + at[f"right_{joint}"]) / 2 for joint in ("hip", "shoulder"))
    trunk = shoulders - hips
    length = float(np.linalg.norm(trunk))
    up = trunk / max(length, MIN_LENGTH)
    ahead = np.cross(at["left_shoulder"] - at["right_shoulder"], up)
    ahead /= max(float(np.linalg.norm(ahead)), MIN_LENGTH)
    return np.stack([np.cross(up, ahead), up, ahead], axis=1), shoulders, length


def _ancestors(bvh: Bvh, name: str) -> list[int]:
    """List the joints above one, from its parent up."""
    found = [bvh.joints[bvh.names.index(name)].parent]
    while found[-1] >= 0:
        found.append(bvh.joints[found[-1]].parent)
    return found[:-1]


def _upright_axes(bvh: Bvh, layout: Layout, body: Body) -> dict[str, Float64[np.ndarray, "3 3"]]:
    """Compute SMPL's axes (left, up, forward) in the frames of neck, head and ankles of an upright person.

    Empty where neither a zero pose that stands nor the layout tells them.
    """
    own = dict(zip(JOINT_NAMES, body.rest_joints(torch.zeros(10)).double().numpy(), strict=True))
    zero_pose = bvh.zero_pose()
    at = {joint: zero_pose[bvh.names.index(name)] for joint, name in layout.joints.items() if name in bvh.names}
    if all(_angle(at[end] - at[start], own[end] - own[start]) < ALIKE_RAD for start, end in STANDING):
        axes = {f"{side}_ankle": _splay(at, own, side) for side in ("left", "right")}
        axes |= {"neck": np.eye(3), "head": np.eye(3)}
    else:
        upright = {joint: tuple(map(np.array, pair)) for joint, pair in layout.upright.items()}
        axes = {joint: np.stack([np.cross(up, ahead), up, ahead], axis=1) for joint, (up, ahead) in upright.items()}
    for end, start in CARRIED.items():
        if axes and end in at and _angle(at[end] - at[start], axes[start] @ (own[end] - own[start])) > ALIKE_RAD:
            return {}
    return axes


def _splay(
    at: dict[str, Float64[np.ndarray, "3"]], own: dict[str, Float64[np.ndarray, "3"]], side: str
) -> Float64[np.ndarray, "3 3"]:
    """Compute the turn, seen from the front, of a leg from the body's direction to the zero pose's.

    CMU's skeletons stand astride in their zero pose and are captured turned against that.
    """
    legs = (where[f"{side}_ankle"] - where[f"{side}_hip"] for where in (at, own))
    seen, rest = (math.atan2(leg[1], leg[0]) for leg in legs)
    return Rotation.from_euler("Z", seen - rest).as_matrix()


def _angle(first: Float64[np.ndarray, "3"], second: Float64[np.ndarray, "3"]) -> float:
    """Compute the angle in radians; 0 where a bone has no length."""
    return math.atan2(float(np.linalg.norm(np.cross(first, second))), float(first @ second))


def _tracks(
    bvh: Bvh, layout: Layout, joints: list[str], axes: dict[str, Float64[np.ndarray, "3 3"]], body: Body
) -> tuple[Float64[np.ndarray, "frame joint 3"], Float64[np.ndarray, "frame 3 3"]]:
    """Compute positions of SMPL's `joints` in the file's unit, `CARRIED` ones by `axes`, and the head's rotation."""
    positions, rotations = joint_transforms(bvh)
    number = {joint: bvh.names.index(layout.joints[joint]) for joint in joints}
    own = body.rest_joints(torch.zeros(10)).double().numpy()
    for end, start in CARRIED.items():
        if axes and end in number:
            bone = axes[start] @ (own[JOINT[end]] - own[JOINT[start]])
            seen = positions[:, number[end]] - positions[:, number[start]]
            length = np.linalg.norm(seen, axis=-1, keepdims=True) / np.linalg.norm(bone)
            turned = rotations[:, bvh.joints[number[end]].parent] @ bone
            positions[:, number[end]] = positions[:, number[start]] + length * turned
    head = "head" if "head" in number else "neck"
    turn = rotations[:, number[head]] @ axes.get(head, np.eye(3))
    return positions[:, list(number.values())], turn


def _turn_heads(posed: SmplParameters, heads: Float[Tensor, "person frame 3 3"]) -> SmplParameters:
    """Turn the heads, which carry nothing, to these rotations (y up)."""
    neck = posed.global_orient
    for joint in ("spine1", "spine2", "spine3", "neck"):
        neck = neck @ posed.body_pose[:, :, JOINT[joint] - 1]
    body_pose = posed.body_pose.clone()
    body_pose[:, :, JOINT["head"] - 1] = neck.mT @ to_z_up(heads.mT).mT
    return replace(posed, body_pose=body_pose)


def _check(file: str, positions: Float64[np.ndarray, "frame joint 3"], joints: list[str], min_stature: float) -> None:
    if not np.abs(positions).max() < FARTHEST_M:
        raise InputError(f"{file}: has joints {FARTHEST_M:g} m away or farther, expected a person in a room")
    leg = leg_length(positions, joints)
    if min_stature and not LEG_OF_STATURE * min_stature < leg < LONGEST_LEG_M:
        raise InputError(
            f"{file}: thigh and shin measure {leg:g} m in the unit of the first person, expected "
            f"{LEG_OF_STATURE * min_stature:.2f} to {LONGEST_LEG_M} m; --min-stature takes children"
        )


def _t_pose_frames(positions: Float64[np.ndarray, "frame joint 3"], joints: list[str], fps: float) -> int:
    """Count the frames to leave out at the start: those up to the end of the leap if it starts from a T-pose."""
    chain = [f"left_{joint}" for joint in ("wrist", "elbow", "shoulder")]
    chain += [joint.replace("left", "right") for joint in reversed(chain)]
    arms = positions[0, [joints.index(joint) for joint in chain]]
    span = arms[-1] - arms[0]
    bones = np.linalg.norm(np.diff(arms, axis=0), axis=-1).sum()
    if np.linalg.norm(span) < T_POSE_STRAIGHT * bones or abs(span[2]) > T_POSE_LEVEL * bones:
        return 0
    speeds = fps * np.linalg.norm(np.diff(positions, axis=0), axis=-1).max(axis=1)
    return int(np.argmin(np.append(speeds > T_POSE_SPEED_M_PER_S, False)))
