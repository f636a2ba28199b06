"""BVH files of any skeleton whose joint names are known: cgspeed's two of CMU's captures, Mixamo, Bandai-Namco.

    ROOT/ANY/FOLDER/NAME.bvh     a person for each ROOT in it; NAME.txt next to it may hold captions (see
                                 `clip.read_captions`)
    ROOT/pairs.csv               optional, columns person1,person2: files (relative to ROOT) of one recording of two
                                 persons in one space, which become one record with person 1's captions

The unit of a file (see `bvh_file`) is the one of `UNITS` in which thigh and shin make a person's leg. cgspeed's Poser
names (hip, abdomen, lThigh …) put every subject on one figure of arbitrary size, so there the leg is taken to be 0.84
m. A pair has person 1's scale. Up is y, or z where zero pose and frames both stand along z, as Blender may export it.

Positions are copied for the joints that mean the same in SMPL; `joint_fitting.fit_joints` makes rotations of them. The
place of a skeleton's head joint above the neck, and of its toes before the ankle, is its own affair. So these are
placed from neck and ankles as the body has them, turned as in the file since the person stood upright, and the head
turns likewise: soles are flat on the floor and eyes look as they did. The T-pose that cgspeed put before each capture,
and its traces after resampling, are left out. Output: metres, Z up, the file's own frame rate.
"""

import csv
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.spatial.transform import Rotation
from torch import Tensor

from motion.body import Body
from motion.clips.ground import settle
from motion.clips.transforms import to_z_up
from motion.datasets.bvh_file import Bvh, joint_transforms, read_bvh, split_persons, turn_z_up
from motion.datasets.clip import Clip, find_files, frame_range, to_record, with_sidecar
from motion.datasets.joint_fitting import fit_files, stature_note
from motion.errors import InputError
from motion.errors.text_files import read_text
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, JOINT_NAMES
from motion.smpl_parameters import SmplParameters

LICENCE = (
    "BVH files keep the licence of their source: CMU's captures may be used for anything but resale of the data, "
    "Bandai-Namco's are CC BY-NC 4.0, Mixamo's may not be redistributed."
)

UNITS = {"m": 1.0, "CMU's 0.45 inch": 0.0254 / 0.45, "inch": 0.0254, "cm": 0.01, "mm": 0.001}  # metres
LEG_RANGE_M = (0.55, 1.15)  # thigh and shin; narrow enough that only one unit fits
POSER_LEG_M = 0.84
FARTHEST_M = 1e4  # from the origin; beyond it a number is damage
# A T-pose put before a capture: arms this straight (distance of the wrists to length of both arms) and this level
# (height between the wrists to that length), left at a speed (m/s) that starts no motion. Resampled ones of CMU have
# 0.86 to 0.91, 0.03 to 0.08 and 26 to 30, then 23 to 29 and 16 to 20; Bandai-Namco's captures start at 9 or less.
T_POSE_STRAIGHT, T_POSE_LEVEL, T_POSE_SPEED_M_PER_S = 0.8, 0.1, 12.0
UPRIGHT = 0.7  # cosine between the trunk and an axis, above which it points along it
MOST_LOOKED_AT = 200  # frames
CARRIED = {"head": "neck", "left_foot": "left_ankle", "right_foot": "right_ankle"}
STANDING = [("right_hip", "left_hip")] + [
    (f"{side}_{start}", end.format(side))
    for side in ("left", "right")
    for start, end in (("hip", "neck"), ("hip", "{}_knee"), ("knee", "{}_ankle"))
]  # bones that lie alike in all upright persons, facing +z
ALIKE_RAD = math.radians(35)  # between bones of an upright skeleton and the body's, at most; CMU's legs differ by 20


def _names(left: str, right: str, sided: str, neck: str, head: str) -> dict[str, str]:
    """Map SMPL's names to a file's; `sided` are its joints from hip to foot, then from shoulder to wrist."""
    joints = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    pairs = list(zip(joints, sided.split(), strict=True))
    both = {
        f"{side}_{joint}": name.format(word)
        for joint, name in pairs
        for side, word in (("left", left), ("right", right))
    }
    return both | {"neck": neck, "head": head}


Upright = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Layout:
    """Naming of joints: SMPL's name to the file's; feet and head may be missing."""

    joints: dict[str, str]
    """File's joint name of each of SMPL's names."""
    leg: float | None = None
    """Length of thigh and shin in metres, where the file's own size means nothing."""
    upright: dict[str, Upright] = field(default_factory=dict)
    """Axes of neck, head and ankles that point up and forward in a standing person, if the zero pose is not upright."""

    def fits(self, names: list[str]) -> bool:
        """Tell whether a file with these joints has this layout."""
        optional = ("left_foot", "right_foot", "head")
        return all(name in names for joint, name in self.joints.items() if joint not in optional)


# Bones of Bandai-Namco's zero pose lie along x. Axes are measured on 804 real files: neck and head as means over 8227
# frames of the "normal" style with trunk upright and hips still (the neck's within 2 degrees of its own axes), of the
# feet as the median of 159000 frames with ankle and toes still, in which the toes lie 39.6 degrees below the ankle.
BANDAI_NAMCO_UPRIGHT: dict[str, Upright] = {
    "neck": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "head": ((0.990, -0.141, 0.0), (0.141, 0.990, 0.0)),
    "left_ankle": ((-0.637, 0.0, 0.771), (0.771, 0.0, 0.637)),
    "right_ankle": ((0.637, 0.0, -0.771), (-0.771, 0.0, -0.637)),
}
LAYOUTS = {
    "Poser (cgspeed)": Layout(
        _names("l", "r", "{}Thigh {}Shin {}Foot {}Foot_end {}Shldr {}ForeArm {}Hand", "neck", "head"), leg=POSER_LEG_M
    ),
    "MotionBuilder (cgspeed, Mixamo)": Layout(
        _names("Left", "Right", "{}UpLeg {}Leg {}Foot {}ToeBase {}Arm {}ForeArm {}Hand", "Neck", "Head")
    ),
    "Bandai-Namco": Layout(
        _names(
            *("L", "R"), "UpperLeg_{} LowerLeg_{} Foot_{} Toes_{} UpperArm_{} LowerArm_{} Hand_{}", *("Neck", "Head")
        ),
        upright=BANDAI_NAMCO_UPRIGHT,
    ),
}


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
    described = [with_sidecar(clip, Path(clip.files[0]).with_suffix(".txt")) for clip in clips]
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
    problem = f"{root / 'pairs.csv'}: names {', '.join(missing)}, expected files in {root}" if missing else None
    return Clip(id=f"bvh/{name}", source="bvh", files=tuple(str(root / file) for file in files), problem=problem)


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """Read the clip at its own frame rate, `body` fitted to its joints, floor on z = 0.

    Raises InputError where a file is damaged, its joints are unknown, or the persons of a pair do not match.
    """
    if clip.problem:
        raise InputError(clip.problem)
    files, people = _read_people(clip)
    layout, joints = _layout(files, people)
    up_axes = {_up_axis(file, bvh, LAYOUTS[layout]) for file, bvh in zip(files, people, strict=True)}
    if len(up_axes) > 1:
        raise InputError(f"{', '.join(files)}: one person stands along y and another along z, expected one space")
    if "z" in up_axes:
        people = list(map(turn_z_up, people))
    axes = [_upright_axes(bvh, LAYOUTS[layout], body) for bvh in people]
    found = [_tracks(bvh, LAYOUTS[layout], joints, own, body) for bvh, own in zip(people, axes, strict=True)]
    tracks, heads = (np.stack(arrays) for arrays in zip(*found, strict=True))
    scale = _scale(files[0], tracks[0], joints, LAYOUTS[layout].leg)
    frames = frame_range(clip, people[0].fps, tracks.shape[1])
    positions = to_z_up(torch.from_numpy(scale * tracks[:, frames])).numpy()
    for file, person in zip(files, positions, strict=True):
        _check(file, person, joints)
    t_pose = max(_t_pose_frames(person, joints, people[0].fps) for person in positions)
    shown = torch.from_numpy(positions[:, t_pose:]).float()
    posed = fit_files(files, shown, joints, body)
    if all(axes):
        posed = _turn_heads(posed, torch.from_numpy(heads[:, frames][:, t_pose:]).float())
    provenance = {
        "joint_names": layout,
        "up_axis": up_axes.pop(),
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


def _up_axis(file: str, bvh: Bvh, layout: Layout) -> str:
    """Find the axis along which hips to neck point in the zero pose and in most frames, "y" or "z".

    A lying person's zero pose stands, and the zero pose of some skeletons, such as Bandai-Namco's, lies while its
    frames stand: only where both agree on another axis, y is not up. Raises InputError where that is none of the two,
    and where the zero pose stands along z but the frames along neither, as of one who crawls: either may be up.
    """
    hips, neck = [bvh.names.index(layout.joints[f"{side}_hip"]) for side in ("left", "right")], layout.joints["neck"]
    every = -(-len(bvh.frames) // MOST_LOOKED_AT)
    positions, _ = joint_transforms(replace(bvh, frames=bvh.frames[::every]))
    poses = np.concatenate([bvh.zero_pose()[None], positions])
    trunk = poses[:, bvh.names.index(neck)] - poses[:, hips].mean(axis=1)
    trunk /= np.linalg.norm(trunk, axis=-1, keepdims=True).clip(min=1e-9)
    zero, most = trunk[0], np.median(trunk[1:], axis=0)
    axis = int(np.abs(zero).argmax())
    sign = np.sign(zero[axis])
    if (axis, sign) == (2, 1) and zero[2] >= UPRIGHT and max(most[1], most[2]) < UPRIGHT:
        raise InputError(
            f"{file}: stands along z in its zero pose and lies in its frames, expected a zero pose along y, "
            "or frames that tell whether y or z is up; export it with y up"
        )
    if (axis, sign) == (1, 1) or sign * zero[axis] < UPRIGHT or sign * most[axis] < UPRIGHT:
        return "y"
    if (axis, sign) != (2, 1):
        found = ("-" if sign < 0 else "") + "xyz"[axis]
        raise InputError(f"{file}: stands along {found} in its zero pose and its frames, expected y or z to point up")
    return "z"


def _layout(files: tuple[str, ...], people: list[Bvh]) -> tuple[str, list[str]]:
    """Find the layout of person 1 and SMPL's names of the joints that it has, and the others must have."""
    first = people[0].names
    layout = next((name for name, names in LAYOUTS.items() if names.fits(first)), None)
    if layout is None:
        raise InputError(
            f"{files[0]}: has the joints {', '.join(first)[:500]}, expected the names of {' or '.join(LAYOUTS)}"
        )
    names = {joint: name for joint, name in LAYOUTS[layout].joints.items() if name in first}
    for file, other in zip(files, people, strict=True):
        missing = [name for name in names.values() if name not in other.names]
        if missing:
            raise InputError(f"{file}: lacks the joints {', '.join(missing)}, expected those of the other person")
    return layout, list(names)


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


def _leg(tracks: Float64[np.ndarray, "frame joint 3"], joints: list[str]) -> float:
    """Measure the left thigh and shin."""
    hip, knee, ankle = (tracks[:, joints.index(f"left_{joint}")] for joint in ("hip", "knee", "ankle"))
    return float(np.median(np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)))


def _scale(file: str, tracks: Float64[np.ndarray, "frame joint 3"], joints: list[str], leg: float | None) -> float:
    """Find the metres per unit of the file."""
    found = _leg(tracks, joints)
    if leg and found > 0:
        return leg / found
    for metres in UNITS.values():
        if LEG_RANGE_M[0] < metres * found < LEG_RANGE_M[1]:
            return metres
    units = ", ".join(UNITS)
    raise InputError(
        f"{file}: thigh and shin measure {found:g}, expected {LEG_RANGE_M[0]} to {LEG_RANGE_M[1]} m in one of {units}"
    )


def _check(file: str, positions: Float64[np.ndarray, "frame joint 3"], joints: list[str]) -> None:
    if not np.abs(positions).max() < FARTHEST_M:
        raise InputError(f"{file}: has joints {FARTHEST_M:g} m away or farther, expected a person in a room")
    leg = _leg(positions, joints)
    if not LEG_RANGE_M[0] < leg < LEG_RANGE_M[1]:
        raise InputError(f"{file}: thigh and shin measure {leg:g} m in the unit of the other person of the pair")


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
