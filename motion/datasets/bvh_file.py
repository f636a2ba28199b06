"""BVH format: a hierarchy of joints, a table of numbers, and the joints' places that follow from them.

A BVH gives each joint an offset from its parent and channels, of which rotations (degrees) multiply in the order they
are written and positions stand in for the offset; y is up. The unit is not defined.
"""

import logging
import math
import re
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from motion.datasets.clip import check_fps
from motion.errors import InputError
from motion.errors.text_files import read_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Joint:
    """Joint of the hierarchy; the end of a limb is one too, `PARENT_end`, without channels."""

    name: str
    """Name without a prefix such as `mixamorig:`."""
    parent: int
    """Index of the parent; -1 for the root."""
    offset: Float64[np.ndarray, "3"]
    """Offset from the parent in the file's unit, y up."""
    channels: tuple[str, ...]
    """Channels such as `xposition`, lower case, in the order of the columns."""

    @property
    def rotation_axes(self) -> str:
        """Axes of the rotation channels in order, such as "ZXY"."""
        return "".join(channel[0].upper() for channel in self.channels if channel.endswith("rotation"))


@dataclass(frozen=True)
class Bvh:
    """Content of a file, in its own unit and axes; names have no prefix such as `mixamorig:`."""

    joints: tuple[Joint, ...]
    """Joints, parents first."""
    frames: Float64[np.ndarray, "frame channel"]
    """Values of all channels, in the joints' order: the file's unit and degrees."""
    fps: float
    """Frames per second."""

    @property
    def names(self) -> list[str]:
        """Names of the joints."""
        return [joint.name for joint in self.joints]

    def zero_pose(self) -> Float64[np.ndarray, "joint 3"]:
        """Compute the positions without any channel, from the root's."""
        positions: list[np.ndarray] = []
        for joint in self.joints:
            positions.append(joint.offset + positions[joint.parent] if joint.parent >= 0 else np.zeros(3))
        return np.stack(positions)


def split_persons(bvh: Bvh) -> list[Bvh]:
    """Split a file by its ROOTs, each of which is a person with the joints and columns that follow it."""
    starts = [index for index, joint in enumerate(bvh.joints) if joint.parent < 0]
    columns = np.cumsum([0, *(len(joint.channels) for joint in bvh.joints)])
    return [
        Bvh(
            tuple(replace(joint, parent=max(joint.parent - start, -1)) for joint in bvh.joints[start:stop]),
            bvh.frames[:, columns[start] : columns[stop]],
            bvh.fps,
        )
        for start, stop in pairwise([*starts, len(bvh.joints)])
    ]


def turn_z_up(bvh: Bvh) -> Bvh:
    """Turn a file whose z is up by -90 degrees about x, so that y is: (x, y, z) becomes (x, z, -y).

    Channels along or about y change their sign and become z's, those of z become y's.
    """
    renamed = str.maketrans("yz", "zy")
    joints = tuple(
        replace(
            joint,
            offset=joint.offset[[0, 2, 1]] * [1, 1, -1],
            channels=tuple(channel[0].translate(renamed) + channel[1:] for channel in joint.channels),
        )
        for joint in bvh.joints
    )
    signs = [-1.0 if channel[0] == "y" else 1.0 for joint in bvh.joints for channel in joint.channels]
    return replace(bvh, joints=joints, frames=bvh.frames * signs)


def joint_transforms(bvh: Bvh) -> tuple[Float64[np.ndarray, "frame joint 3"], Float64[np.ndarray, "frame joint 3 3"]]:
    """Compute world positions (in the file's unit, y up) and rotations of all joints."""
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
    return np.stack(positions, axis=1), np.stack(rotations, axis=1)


MOTION = re.compile(r"^\s*MOTION\s+Frames:\s*(\S+)\s+Frame\s+Time:\s*(\S+)", re.MULTILINE | re.IGNORECASE)
CHANNELS = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}


def read_bvh(path: Path) -> Bvh:
    """Read a BVH file (its own unit, y up, degrees); raises InputError where it is damaged or no BVH."""
    text = read_text(path, "expected a BVH", errors="replace")
    motion = MOTION.search(text)
    if motion is None:
        raise InputError(f"{path}: has no MOTION section, expected a BVH with Frames and Frame Time")
    joints = _hierarchy(path, text[: motion.start()])
    try:
        count, seconds = int(motion[1]), float(motion[2])
        numbers = np.array(text[motion.end() :].split(), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: MOTION holds something else than numbers ({str(error)[:80]})") from error
    if not 0 < seconds < math.inf:
        raise InputError(f"{path}: Frame Time is {motion[2]}, expected seconds from one frame to the next")
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: MOTION holds NaN or infinity, expected finite numbers")
    columns = sum(len(joint.channels) for joint in joints)
    return Bvh(joints, _rows(path, numbers, count, columns), check_fps(str(path), _rate(seconds)))


def _rows(
    path: Path, numbers: Float64[np.ndarray, "number"], count: int, columns: int
) -> Float64[np.ndarray, "frame channel"]:
    """Arrange the numbers in rows; some recorders count one frame too many or too few, which is logged."""
    rows, left_over = divmod(numbers.size, max(columns, 1))
    if min(count, columns, rows) < 1 or left_over or abs(rows - count) > 1:
        raise InputError(
            f"{path}: holds {numbers.size} numbers, expected {count} frames of {columns} channels, "
            f"{count * columns} numbers; mend Frames or the rows"
        )
    if rows != count:
        logger.warning("%s: Frames says %d, read are the %d rows that it holds", path, count, rows)
    return numbers.reshape(rows, columns)


def _rate(seconds: float) -> float:
    """Compute frames per second; files write 1/30 s as 0.033333 and 1/120 s as 0.00833."""
    rate = 1 / seconds
    whole = round(rate) if rate < 1e6 else 0
    return float(whole) if abs(rate - whole) < 5e-4 * rate else rate


def _hierarchy(path: Path, text: str) -> tuple[Joint, ...]:
    """Parse the joints, parents first, as their channels are ordered in the motion."""
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
                number = int(next(tokens))
                if number < 0:
                    raise ValueError(f"CHANNELS says {number}")
                joints[ancestors[-1]]["channels"] = tuple(word.lower() for word in islice(tokens, number))
            elif token == "}":
                ancestors.pop()
            elif token != "HIERARCHY":
                raise ValueError(f"unknown word {token[:40]!r}")
        if ancestors:
            raise ValueError("a brace is not closed")
        if bare := [joint["name"] for joint in joints if "offset" not in joint]:
            raise ValueError(f"{bare[0]} has no OFFSET")
        hierarchy = tuple(Joint(**joint) for joint in joints)
    except StopIteration as error:
        raise InputError(f"{path}: HIERARCHY is damaged (it ends within a joint), expected nested joints") from error
    except IndexError as error:
        found = "it has a brace, OFFSET or CHANNELS outside of any joint"
        raise InputError(f"{path}: HIERARCHY is damaged ({found}), expected nested joints") from error
    except ValueError as error:
        raise InputError(f"{path}: HIERARCHY is damaged ({error}), expected nested joints") from error
    for joint in hierarchy:
        _check_joint(path, joint)
    return hierarchy


def _check_joint(path: Path, joint: Joint) -> None:
    if not np.isfinite(joint.offset).all():
        raise InputError(f"{path}: OFFSET of {joint.name} holds NaN or infinity, expected three lengths")
    axes = joint.rotation_axes
    if not CHANNELS.issuperset(joint.channels) or len(axes) > 3 or any(a == b for a, b in pairwise(axes)):
        raise InputError(f"{path}: CHANNELS of {joint.name} are {joint.channels}, expected positions and Euler angles")
