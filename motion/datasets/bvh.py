"""BVH files of any skeleton whose joint names are known: cgspeed's two of CMU's captures, Mixamo, Bandai-Namco.

    ROOT/ANY/FOLDER/NAME.bvh     one person; NAME.txt beside it may hold captions (see `clip.read_captions`)
    ROOT/pairs.csv               optional, columns person1,person2: files (relative to ROOT) of one recording of two
                                 people in one space, which become one record with person 1's captions

A BVH gives each joint an offset from its parent and channels, of which rotations (degrees) multiply in the order
they are written and positions stand in for the offset; y is up. The unit is anybody's: it is the one of `UNITS`
in which thigh and shin make a person's leg. cgspeed's Poser names (hip, abdomen, lThigh …) put every subject on one
figure of arbitrary size, so there the leg is taken to be 0.84 m. A pair has person 1's scale.

Only positions are taken over, of the joints that mean the same in SMPL; `joints.fit_joints` makes rotations of them.
The T-pose that cgspeed put before each capture is left out. Output: metres, Z up, the file's own frame rate.
"""

import csv
import re
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from motion.body import Body
from motion.datasets.clip import Clip, check_fps, frame_range, to_record, with_sidecar
from motion.datasets.joints import fit_joints
from motion.datasets.unify import settle, to_z_up
from motion.errors import InputError
from motion.sequence import MotionSequence

LICENCE = (
    "BVH files keep the licence of their source: CMU's captures may be used for anything but resale of the data, "
    "Bandai-Namco's are CC BY-NC 4.0, Mixamo's may not be redistributed."
)

UNITS = {"m": 1.0, "CMU's 0.45 inch": 0.0254 / 0.45, "inch": 0.0254, "cm": 0.01, "mm": 0.001}  # each in metres
LEG_RANGE = (0.55, 1.15)  # metres of thigh and shin; narrow enough that only one unit fits
POSER_LEG = 0.84
FARTHEST = 1e4  # metres from the origin; beyond it a number is damage
T_POSE_JUMP = 0.3  # metres that some joint leaps from the T-pose to the first captured frame


def _names(left: str, right: str, sided: str, neck: str, head: str) -> dict[str, str]:
    """SMPL's names to a file's; `sided` are its joints from hip to foot, then from shoulder to wrist."""
    joints = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    pairs = list(zip(joints, sided.split(), strict=True))
    both = {
        f"{side}_{joint}": name.format(word)
        for joint, name in pairs
        for side, word in (("left", left), ("right", right))
    }
    return both | {"neck": neck, "head": head}


@dataclass(frozen=True)
class Layout:
    """A way to name joints: SMPL's name to the file's, of which feet and head may be missing."""

    joints: dict[str, str]
    leg: float | None = None
    """Metres of thigh and shin where the file's own size means nothing."""

    def fits(self, names: list[str]) -> bool:
        optional = ("left_foot", "right_foot", "head")
        return all(name in names for joint, name in self.joints.items() if joint not in optional)


LAYOUTS = {
    "Poser (cgspeed)": Layout(
        _names("l", "r", "{}Thigh {}Shin {}Foot {}Foot_end {}Shldr {}ForeArm {}Hand", "neck", "head"), leg=POSER_LEG
    ),
    "MotionBuilder (cgspeed, Mixamo)": Layout(
        _names("Left", "Right", "{}UpLeg {}Leg {}Foot {}ToeBase {}Arm {}ForeArm {}Hand", "Neck", "Head")
    ),
    "Bandai-Namco": Layout(
        _names(
            *("L", "R"), "UpperLeg_{} LowerLeg_{} Foot_{} Toes_{} UpperArm_{} LowerArm_{} Hand_{}", *("Neck", "Head")
        )
    ),
}


def list_clips(root: Path) -> list[Clip]:
    """All files under `root`, those of `pairs.csv` two by two, sorted by id; a described span is a clip of its own."""
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix.lower() == ".bvh"]
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
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["person1"].strip(), row["person2"].strip()) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read ({error!r}), expected columns person1,person2 of file names"
        ) from error
    return list(dict.fromkeys(rows))


def _clip(root: Path, files: tuple[str, ...]) -> Clip:
    name = "+".join([str(Path(files[0]).with_suffix("")), *(Path(file).stem for file in files[1:])])
    missing = [file for file in files if not (root / file).is_file()]
    problem = f"{root / 'pairs.csv'}: names {', '.join(missing)}, expected files in {root}" if missing else None
    return Clip(id=f"bvh/{name}", source="bvh", files=tuple(str(root / file) for file in files), problem=problem)


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """The clip at its own frame rate, `body` fitted to its joints, floor on z = 0."""
    if clip.problem:
        raise InputError(clip.problem)
    people = _read_people(clip)
    layout = _layout(clip.files[0], people[0])
    joints = [joint for joint, name in LAYOUTS[layout].joints.items() if name in people[0].names]
    tracks = np.stack([_tracks(file, bvh, layout, joints) for file, bvh in zip(clip.files, people, strict=True)])
    scale = _scale(clip.files[0], tracks[0], joints, LAYOUTS[layout].leg)
    frames = frame_range(clip, people[0].fps, tracks.shape[1])
    positions = to_z_up(torch.from_numpy(scale * tracks[:, frames])).numpy()
    for file, person in zip(clip.files, positions, strict=True):
        _check(file, person, joints)
    t_pose = all(_starts_with_t_pose(person, joints) for person in positions)
    try:
        pose, betas = fit_joints(torch.from_numpy(positions[:, int(t_pose) :]).float(), joints, body)
    except InputError as error:
        raise InputError(f"{', '.join(clip.files)}: {error}") from error
    provenance = {"joint_names": layout, "metres_per_unit": f"{scale:.6g}", "t_pose": "left out" if t_pose else "none"}
    return settle(to_record(clip, people[0].fps, pose, betas, body, provenance), body)


def _read_people(clip: Clip) -> list["Bvh"]:
    people = [read_bvh(Path(file)) for file in clip.files]
    first, *others = people
    for file, other in zip(clip.files[1:], others, strict=True):
        if (other.fps, len(other.frames)) != (first.fps, len(first.frames)):
            raise InputError(
                f"{file}: has {len(other.frames)} frames at {other.fps:g} per second, expected {len(first.frames)} at "
                f"{first.fps:g} as {clip.files[0]} has, the other person of the pair"
            )
    return people


def _layout(file: str, bvh: "Bvh") -> str:
    for layout, names in LAYOUTS.items():
        if names.fits(bvh.names):
            return layout
    raise InputError(
        f"{file}: has the joints {', '.join(bvh.names)[:500]}, expected the names of {' or '.join(LAYOUTS)}"
    )


def _tracks(file: str, bvh: "Bvh", layout: str, joints: list[str]) -> Float64[np.ndarray, "frame joint 3"]:
    names = [LAYOUTS[layout].joints[joint] for joint in joints]
    missing = [name for name in names if name not in bvh.names]
    if missing:
        raise InputError(f"{file}: lacks the joints {', '.join(missing)}, expected those of the other person")
    return joint_positions(bvh)[:, [bvh.names.index(name) for name in names]]


def _leg(tracks: Float64[np.ndarray, "frame joint 3"], joints: list[str]) -> float:
    """Length of the left thigh and shin."""
    hip, knee, ankle = (tracks[:, joints.index(f"left_{joint}")] for joint in ("hip", "knee", "ankle"))
    return float(np.median(np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)))


def _scale(file: str, tracks: Float64[np.ndarray, "frame joint 3"], joints: list[str], leg: float | None) -> float:
    """Metres per unit of the file."""
    found = _leg(tracks, joints)
    if leg and found > 0:
        return leg / found
    for metres in UNITS.values():
        if LEG_RANGE[0] < metres * found < LEG_RANGE[1]:
            return metres
    units = ", ".join(UNITS)
    raise InputError(
        f"{file}: thigh and shin measure {found:g}, expected {LEG_RANGE[0]} to {LEG_RANGE[1]} m in one of {units}"
    )


def _check(file: str, positions: Float64[np.ndarray, "frame joint 3"], joints: list[str]) -> None:
    if not np.abs(positions).max() < FARTHEST:
        raise InputError(f"{file}: has joints {FARTHEST:g} m away or farther, expected a person in a room")
    leg = _leg(positions, joints)
    if not LEG_RANGE[0] < leg < LEG_RANGE[1]:
        raise InputError(f"{file}: thigh and shin measure {leg:g} m in the unit of the other person of the pair")


def _starts_with_t_pose(positions: Float64[np.ndarray, "frame joint 3"], joints: list[str]) -> bool:
    """Whether the first frame holds both arms out straight and level, and is a leap away from the next one."""
    chain = [f"left_{joint}" for joint in ("wrist", "elbow", "shoulder")]
    chain += [joint.replace("left", "right") for joint in reversed(chain)]
    arms = positions[0, [joints.index(joint) for joint in chain]]
    span = arms[-1] - arms[0]
    bones = np.linalg.norm(np.diff(arms, axis=0), axis=-1).sum()
    straight = np.linalg.norm(span) > 0.95 * bones and abs(span[2]) < 0.1 * bones
    jump = np.linalg.norm(np.diff(positions[:2], axis=0), axis=-1).max(initial=0.0)
    return bool(straight and jump > T_POSE_JUMP)


@dataclass(frozen=True)
class Joint:
    """A joint of the hierarchy; the end of a limb is one too, `PARENT_end`, without channels."""

    name: str
    parent: int
    offset: Float64[np.ndarray, "3"]
    channels: tuple[str, ...]
    """`xposition` and the like, lower case, in the order of the columns."""

    @property
    def rotation_axes(self) -> str:
        return "".join(channel[0].upper() for channel in self.channels if channel.endswith("rotation"))


@dataclass(frozen=True)
class Bvh:
    """A file as it is, in its own unit and axes; names have no prefix such as `mixamorig:`."""

    joints: tuple[Joint, ...]
    frames: Float64[np.ndarray, "frame channel"]
    fps: float

    @property
    def names(self) -> list[str]:
        return [joint.name for joint in self.joints]


def joint_positions(bvh: Bvh) -> Float64[np.ndarray, "frame joint 3"]:
    """World positions of all joints in the file's unit, y up."""
    positions: list[np.ndarray] = []
    rotations: list[np.ndarray] = []
    column = 0
    for joint in bvh.joints:
        values = bvh.frames[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        local, turning = np.tile(joint.offset, (len(values), 1)), []
        for index, channel in enumerate(joint.channels):
            if channel.endswith("position"):
                local[:, "xyz".index(channel[0])] = values[:, index]
            else:
                turning.append(index)
        if joint.parent >= 0:
            local = positions[joint.parent] + np.einsum("fij,fj->fi", rotations[joint.parent], local)
        turn = rotations[joint.parent] if joint.parent >= 0 else np.eye(3)
        if turning:
            turn = turn @ Rotation.from_euler(joint.rotation_axes, values[:, turning], degrees=True).as_matrix()
        positions.append(local)
        rotations.append(np.broadcast_to(turn, (len(values), 3, 3)))
    return np.stack(positions, axis=1)


MOTION = re.compile(r"^\s*MOTION\s+Frames:\s*(\S+)\s+Frame\s+Time:\s*(\S+)", re.MULTILINE)
CHANNELS = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}


def read_bvh(path: Path) -> Bvh:
    """Parse a file; InputError where it is damaged or something else."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    motion = MOTION.search(text)
    if motion is None:
        raise InputError(f"{path}: has no MOTION section, expected a BVH with Frames and Frame Time")
    joints = _hierarchy(path, text[: motion.start()])
    try:
        count, seconds = int(motion[1]), float(motion[2])
        numbers = np.array(text[motion.end() :].split(), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: MOTION holds something else than numbers ({str(error)[:80]})") from error
    columns = sum(len(joint.channels) for joint in joints)
    if min(count, columns) < 1 or numbers.size != count * columns:
        raise InputError(f"{path}: holds {numbers.size} numbers, expected {count} frames of {columns} channels")
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: MOTION holds NaN or infinity, expected finite numbers")
    return Bvh(joints, numbers.reshape(count, columns), check_fps(str(path), _rate(seconds)))


def _rate(seconds: float) -> float:
    """Frames per second; files write 1/30 s as 0.033333 and 1/120 s as 0.00833."""
    rate = 1 / seconds if seconds > 0 else float("nan")
    whole = round(rate) if rate < 1e6 else 0
    return float(whole) if abs(rate - whole) < 5e-4 * rate else rate


def _hierarchy(path: Path, text: str) -> tuple[Joint, ...]:
    """The joints, parents first, as their channels are ordered in the motion."""
    tokens = iter(text.replace("{", " { ").replace("}", " } ").split())
    joints: list[dict[str, Any]] = []
    ancestors: list[int] = []
    try:
        for token in tokens:
            if token in ("ROOT", "JOINT", "End"):
                words = list(iter(lambda: next(tokens), "{"))
                parent = ancestors[-1] if ancestors else -1
                name = f"{joints[parent]['name']}_end" if token == "End" else " ".join(words).rsplit(":", 1)[-1]
                ancestors.append(len(joints))
                joints.append({"name": name, "parent": parent, "channels": ()})
            elif token == "OFFSET":
                joints[ancestors[-1]]["offset"] = np.array([float(next(tokens)) for _ in range(3)])
            elif token == "CHANNELS":
                joints[ancestors[-1]]["channels"] = tuple(word.lower() for word in islice(tokens, int(next(tokens))))
            elif token == "}":
                ancestors.pop()
            elif token != "HIERARCHY":
                raise ValueError(f"unknown word {token[:40]!r}")
        if ancestors:
            raise ValueError("a brace is not closed")
        hierarchy = tuple(Joint(**joint) for joint in joints)
    except (StopIteration, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{path}: HIERARCHY is damaged ({error!r}), expected nested joints") from error
    for joint in hierarchy:
        _check_joint(path, joint)
    return hierarchy


def _check_joint(path: Path, joint: Joint) -> None:
    if not np.isfinite(joint.offset).all():
        raise InputError(f"{path}: OFFSET of {joint.name} holds NaN or infinity, expected three lengths")
    axes = joint.rotation_axes
    if not CHANNELS.issuperset(joint.channels) or len(axes) > 3 or any(a == b for a, b in pairwise(axes)):
        raise InputError(f"{path}: CHANNELS of {joint.name} are {joint.channels}, expected positions and Euler angles")
