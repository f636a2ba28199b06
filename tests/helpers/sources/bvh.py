"""BVH files in the naming of each known source, good ones and broken ones.

Motions are `walk` of `tests.helpers.sources.humanml3d`; numbers have 6 decimals, as most programs write them.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
from scipy.spatial.transform import Rotation

from motion.body import Body
from motion.datasets.bvh import BvhOptions, read_clip
from motion.datasets.bvh_names import LAYOUTS
from motion.datasets.clip import Clip
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, JOINT_NAMES, PARENTS
from motion.smpl_parameters import SmplParameters
from tests.helpers.sources.amass import SPANS, SPOILT_TEXTS
from tests.helpers.sources.humanml3d import BODY, empty, truncate, walk, y_up

POSER, MOTION_BUILDER, BANDAI_NAMCO, BIOVISION, *OTHERS = LAYOUTS
CAPTIONS = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n\nthe left knee bends#the/DET#0.5#1.5\n"


def write_bvh(
    path: Path,
    names: Sequence[str],
    parents: Sequence[int],
    offsets: np.ndarray,
    rotations: np.ndarray,
    root_positions: np.ndarray,
    fps: float,
    order: str = "ZXY",
    positions: np.ndarray | None = None,
) -> None:
    """Write offsets (joint 3), local rotations (frame joint 3 3) and root positions (frame 3), y up.

    A name that ends in `_end` is the end of its parent's limb. `positions` (frame joint 3), relative to the
    parents, give every joint position channels, as Bandai-Namco's files have them.
    """
    moving = [joint for joint in _depth_first(0, parents) if not names[joint].endswith("_end")]
    columns = []
    for joint in moving:
        if positions is not None or parents[joint] < 0:
            columns.append(root_positions if parents[joint] < 0 else positions[:, joint])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an arm that points straight up is a gimbal lock
            columns.append(Rotation.from_matrix(rotations[:, joint]).as_euler(order, degrees=True))
    head = "\n".join(["HIERARCHY", *_joint_lines(0, names, parents, offsets, order, positions is not None)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{head}\nMOTION\nFrames: {len(rotations)}\nFrame Time: {1 / fps:.7f}\n")
        np.savetxt(file, np.concatenate(columns, axis=1), fmt="%.6f")


def _depth_first(joint: int, parents: Sequence[int]) -> list[int]:
    children = [child for child, parent in enumerate(parents) if parent == joint]
    return [joint, *(below for child in children for below in _depth_first(child, parents))]


def _joint_lines(
    joint: int, names: Sequence[str], parents: Sequence[int], offsets: np.ndarray, order: str, all_move: bool
) -> list[str]:
    offset = "\tOFFSET " + " ".join(f"{number:.6f}" for number in offsets[joint])
    if names[joint].endswith("_end"):
        return ["End Site", "{", offset, "}"]
    channels = [f"{axis}rotation" for axis in order]
    if all_move or parents[joint] < 0:
        channels = [f"{axis}position" for axis in "XYZ"] + channels
    children = [child for child, parent in enumerate(parents) if parent == joint]
    lines = [line for child in children for line in _joint_lines(child, names, parents, offsets, order, all_move)]
    if not children:
        lines = ["End Site", "{", "\tOFFSET 0.0 0.0 0.0", "}"]
    kind = "ROOT" if parents[joint] < 0 else "JOINT"
    body = [offset, f"\tCHANNELS {len(channels)} {' '.join(channels)}", *("\t" + line for line in lines)]
    return [f"{kind} {names[joint]}", "{", *body, "}"]


def write_pose(
    path: Path,
    pose: SmplParameters,
    fps: float,
    layout: str = BANDAI_NAMCO,
    unit: float = 0.01,
    prefix: str = "",
    order: str = "ZXY",
    bones: Mapping[str, tuple[float, float, float]] | None = None,
    frames: Mapping[str, np.ndarray] | None = None,
    turn: np.ndarray | None = None,
) -> None:
    """Write a pose of the default body's mean shape as the skeleton of a source, whose unit is so many metres.

    `bones` (metres, to the joint they are named after) stand in for the body's. `frames` (3 3) turn SMPL's axes into
    those that a joint has in the file; the zero pose turns with them, the motion does not. `turn` (3 3) turns all of
    the file's space.
    """
    in_file = {name: LAYOUTS[layout].joints.get(name, f"smpl_{name}") for name in JOINT_NAMES}
    rest = BODY.rest_joints(torch.zeros(10)).numpy() / unit
    offsets = rest - rest[list(PARENTS)] * (np.array(PARENTS) >= 0)[:, None]
    for name, bone in (bones or {}).items():
        offsets[JOINT[name]] = np.array(bone) / unit
    upright = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float32)
    rotations = pose.rotations[0].numpy()
    rotations[:, 0] = upright @ rotations[:, 0]
    own = np.stack([(frames or {}).get(name, np.eye(3)) for name in JOINT_NAMES])
    above = np.concatenate([np.eye(3)[None], own[list(PARENTS[1:])]])
    offsets = np.einsum("jkl,jl->jk", above, offsets)
    rotations = above @ rotations @ own.swapaxes(-1, -2)
    root = y_up(pose.joints(BODY)[0, :, 0]) / unit
    if turn is not None:
        offsets, rotations, root = offsets @ turn.T, turn @ rotations @ turn.T, root @ turn.T
    write_bvh(path, [prefix + in_file[name] for name in JOINT_NAMES], PARENTS, offsets, rotations, root, fps, order)


def read_one(path: Path, body: Body, **options: Any) -> MotionSequence:
    return read_clip(Clip("bvh/one", "bvh", (str(path),)), body, BvhOptions(**options))


def level(joints: np.ndarray) -> np.ndarray:
    """Take the height of the floor out."""
    return joints - joints[..., 2].mean() * np.array([0, 0, 1])


def write_dataset(folder: Path) -> list[str]:
    """Write clips of all sources, one described, one of two persons; return the ids of its clips."""
    write_pose(folder / "bandai" / "walk_old_001.bvh", walk(2.0, 30.0, 1), 30.0)
    write_pose(folder / "bandai" / "walk_young_001.bvh", walk(2.0, 30.0, 2), 30.0)
    (folder / "bandai" / "walk_old_001.txt").write_text(CAPTIONS)
    write_pose(folder / "mixamo.bvh", walk(1.0, 60.0, 3), 60.0, MOTION_BUILDER, prefix="mixamorig:", order="XYZ")
    write_pose(folder / "cmu" / "02_01.bvh", walk(1.0, 120.0, 4), 120.0, MOTION_BUILDER, unit=0.0254 / 0.45)
    for subject, seed in (("60", 5), ("61", 6)):
        write_pose(folder / "cmu" / f"{subject}_01.bvh", walk(1.0, 120.0, seed), 120.0, POSER, unit=1.31)
    (folder / "pairs.csv").write_text("person1,person2\ncmu/60_01.bvh,cmu/61_01.bvh\n")
    described = ["bvh/bandai/walk_old_001", "bvh/bandai/walk_old_001@0.5-1.5"]
    return [*described, "bvh/bandai/walk_young_001", "bvh/cmu/02_01", "bvh/cmu/60_01+61_01", "bvh/mixamo"]


def change(old: str, new: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return spoil


def change_motion(edit: Callable[[list[list[str]]], list[list[str]]]) -> Callable[[Path], None]:
    """Edit the table of numbers (as words) and leave the number of frames that is promised."""

    def spoil(path: Path) -> None:
        *head, rows = path.read_text(encoding="utf-8").partition("Frame Time: 0.0333333\n")
        table = edit([row.split() for row in rows.splitlines()])
        path.write_text("".join(head) + "\n".join(" ".join(row) for row in table), encoding="utf-8")

    return spoil


def set_number(word: str) -> Callable[[Path], None]:
    return change_motion(lambda rows: [[word, *rows[0][1:]], *rows[1:]])


FRAME_TIME = "Frame Time: 0.0333333"
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"holds \d+ numbers, expected 30 frames of 75 channels"),
    "truncated_joints": (lambda path: path.write_bytes(path.read_bytes()[:700]), r"has no MOTION section"),
    "empty": (empty, r"has no MOTION section"),
    "no_text": (lambda path: path.write_bytes(bytes(range(256)) * 40), r"has no MOTION section"),
    "nan": (set_number("nan"), r"MOTION holds NaN"),
    "infinite": (set_number("1e999"), r"MOTION holds NaN or infinity"),
    "words": (set_number("0,5"), r"something else than numbers"),
    "far": (set_number("1e9"), r"10000 m away or farther"),
    "columns": (change_motion(lambda rows: [row[:-1] for row in rows]), r"2220 numbers, expected 30 frames"),
    "frames": (change_motion(lambda rows: rows[:-2]), r"2100 numbers, expected 30 frames of 75"),
    "no_frames": (change("Frames: 30", "Frames: 0"), r"expected 0 frames of 75"),
    "word_frames": (change("Frames: 30", "Frames: many"), r"something else than numbers"),
    "no_rate": (change(FRAME_TIME, ""), r"has no MOTION section"),
    "zero_rate": (change(FRAME_TIME, "Frame Time: 0.0"), r"Frame Time is 0.0, expected seconds"),
    "nan_rate": (change(FRAME_TIME, "Frame Time: nan"), r"Frame Time is nan, expected seconds"),
    "fast": (change(FRAME_TIME, "Frame Time: 0.000001"), r"has 1e\+06 frames per second"),
    "slow": (change(FRAME_TIME, "Frame Time: 2"), r"has 0\.5 frames per second"),
    "unknown_joints": (change("JOINT LowerLeg_L", "JOINT Wheel"), r"has the joints .*Wheel.*, expected the names of"),
    "no_brace": (change("}\nMOTION", "\nMOTION"), r"HIERARCHY is damaged .*not closed"),
    "brace": (change("}\nMOTION", "}}\nMOTION"), r"HIERARCHY is damaged"),
    "no_offset": (change("OFFSET", ""), r"HIERARCHY is damaged"),
    "nan_offset": (change("OFFSET 0.000000", "OFFSET nan"), r"OFFSET of .* holds NaN"),
    "odd_channel": (change("Zrotation", "Wrotation"), r"CHANNELS of .*wrotation"),
    "twice": (change("Xrotation", "Zrotation"), r"CHANNELS of .*zrotation.*expected positions and Euler"),
    "many_channels": (change("CHANNELS 6", "CHANNELS 6000000"), r"HIERARCHY is damaged"),
}


def write_malformed(folder: Path) -> dict[str, str]:
    """Add spoilt clips to a data set; return their ids and what each one's rejection must say."""
    good = walk(1.0, 30.0, 0)
    expected, pairs = {}, ["bad/gone_1.bvh,bad/gone_2.bvh"]
    for kind, (spoil, says) in SPOILT.items():
        write_pose(folder / "bad" / f"{kind}.bvh", good, 30.0)
        spoil(folder / "bad" / f"{kind}.bvh")
        expected[f"bvh/bad/{kind}"] = says
    for kind, (text, says) in SPOILT_TEXTS.items():
        write_pose(folder / "bad" / f"{kind}.bvh", good, 30.0)
        (folder / "bad" / f"{kind}.txt").write_bytes(text)
        expected[f"bvh/bad/{kind}{SPANS.get(kind, '')}"] = says
    write_pose(folder / "bad" / "giant.bvh", good, 30.0, unit=0.0025)
    expected["bvh/bad/giant"] = r"thigh and shin measure 3\d\d\.\d+, expected 0\.55 to 1\.15 m in one of m, "
    write_point(folder / "bad" / "point.bvh")
    expected["bvh/bad/point"] = r"thigh and shin measure 0, expected"
    others = {
        "length": (walk(1.1, 30.0, 1), BANDAI_NAMCO, 0.01, r"has 33 frames at 30 per second, expected 30 at 30"),
        "joints": (good, POSER, 0.01, r"lacks the joints UpperLeg_L"),
        "unit": (good, BANDAI_NAMCO, 0.0254, r"thigh and shin measure 0\.\d+ m"),
    }
    for kind, (other, layout, unit, says) in others.items():
        write_pose(folder / "bad" / f"{kind}_1.bvh", good, 30.0)
        write_pose(folder / "bad" / f"{kind}_2.bvh", other, 30.0, layout, unit)
        pairs.append(f"bad/{kind}_1.bvh,bad/{kind}_2.bvh")
        expected[f"bvh/bad/{kind}_1+{kind}_2"] = says
    with (folder / "pairs.csv").open("a") as file:
        file.write("".join(f"{pair}\n" for pair in pairs))
    return expected | {"bvh/bad/gone_1+gone_2": r"pairs\.csv: names bad/gone_1\.bvh, bad/gone_2\.bvh"}


def write_point(path: Path) -> None:
    """Write a skeleton whose bones have no length."""
    names = ["Hips", *LAYOUTS[BANDAI_NAMCO].joints.values()]
    still = np.tile(np.eye(3), (5, len(names), 1, 1))
    parents = [-1] + [0] * (len(names) - 1)
    write_bvh(path, names, parents, np.zeros((len(names), 3)), still, np.zeros((5, 3)), 30.0)


def write_bandai_namco(npz: Path, folder: Path, limit: int | None, kind: str = "") -> int:
    """Write the motions of shared/data with `kind` in their names as files like the original ones; return how many.

    Those are in cm and have position channels on every joint. The npz holds world positions (m) and local rotations (w
    x y z) of joints below `joint_Root`, which rests.
    """
    data = np.load(npz)
    names, parents = ["joint_Root", *data["joint_names"]], [-1, *(data["parents"] + 1)]
    turning = [names.index(name) for name in data["rot_joint_names"]]
    clips = [key.removesuffix("|pos") for key in data.files if key.endswith("|pos") and kind in key][:limit]
    for clip in clips:
        quaternions = np.roll(data[f"{clip}|quat"].astype(np.float64), -1, axis=-1)
        rotations = np.tile(np.eye(3), (len(quaternions), len(names), 1, 1))
        rotations[:, turning] = roma.unitquat_to_rotmat(
            torch.nn.functional.normalize(torch.from_numpy(quaternions), dim=-1)
        ).numpy()
        world = np.concatenate([np.zeros((len(rotations), 1, 3)), 100 * data[f"{clip}|pos"]], axis=1)
        positions = _relative(world, rotations, parents)
        write_bvh(
            *(folder / f"{clip}.bvh", names, parents, positions[0], rotations, world[:, 0], 30.0), positions=positions
        )
    return len(clips)


def _relative(world: np.ndarray, rotations: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Express world positions (frame joint 3) in the axes of their parents, from the parents."""
    turned, positions = [rotations[:, 0]], [world[:, 0]]
    for joint in range(1, len(parents)):
        parent = parents[joint]
        bone = world[:, joint] - world[:, parent]
        positions.append(np.einsum("fji,fj->fi", turned[parent], bone))
        turned.append(turned[parent] @ rotations[:, joint])
    return np.stack(positions, axis=1)
