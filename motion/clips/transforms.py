"""Transforms of whole clips: moved, turned, cut and resampled.

World: Z up, metres. Rotations are resampled by slerp, positions linearly.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from motion.body import Body
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.skeleton import to_the_right
from motion.smpl_parameters import SmplParameters

MOVED = "moved"
"""Key of a motion's provenance that says that it does not lie in the coordinates of its scene any more."""


@dataclass(frozen=True)
class Neighbours:
    """Old frames around each new frame, and how far it lies from `lower` (0) to `upper` (1)."""

    lower: Int64[Tensor, " frame"]
    """Last old frame at or before each new one."""
    upper: Int64[Tensor, " frame"]
    """First old frame after `lower`, or the last one."""
    weight: Float[Tensor, " frame"]
    """Share of the way from `lower` (0) to `upper` (1)."""

    @classmethod
    def at(cls, positions: Float[Tensor, " frame"], num_frames: int) -> "Neighbours":
        """Compute the neighbours of fractional frame numbers within 0 .. num_frames - 1."""
        lower = positions.floor().long().clamp(0, num_frames - 1)
        return cls(lower, (lower + 1).clamp_max(num_frames - 1), (positions - lower).float())


def to_z_up(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert Y-up coordinates to the Z-up world: (x, y, z) to (x, -z, y)."""
    x, y, z = points.unbind(dim=-1)
    return torch.stack([x, -z, y], dim=-1)


def crop(sequence: MotionSequence, start: int, stop: int) -> MotionSequence:
    """Cut frames `start` to `stop` (exclusive) of every person, as a slice does: negative numbers count from the end.

    A span beyond the end is cut off there; raises InputError where no frame is left.
    """
    frames = slice(start, stop)
    per_frame = ("transl", "global_orient", "body_pose", "joints", "valid", "action")
    return replace(sequence, **{name: getattr(sequence, name)[:, frames] for name in per_frame})


def cut(sequence: MotionSequence, start: float, stop: float) -> MotionSequence:
    """Cut the frames from second `start` to `stop` (exclusive), each taken to the nearest frame.

    Raises InputError where the clip is shorter.
    """
    first, last = round(start * sequence.fps), round(stop * sequence.fps)
    if not 0 <= first < last <= sequence.num_frames:
        seconds = sequence.num_frames / sequence.fps
        raise InputError(f"{sequence.id}: is {seconds:g} s long, expected to hold {start:g} s to {stop:g} s")
    return crop(sequence, first, last)


def windows(seconds: float, max_seconds: float) -> list[tuple[float, float]]:
    """Split `seconds` into as few pieces as fit into `max_seconds`, all of one length, as (start, stop) in seconds."""
    count = max(1, math.ceil(seconds / max_seconds - 1e-6))
    return list(pairwise(seconds * i / count for i in range(count + 1)))


def smoothstep(share: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """Ease from 0 to 1 without a jump in speed at either end; `share` is within 0 to 1."""
    return share**2 * (3 - 2 * share)


def resample(sequence: MotionSequence, fps: float, body: Body) -> MotionSequence:
    """Resample a motion to `fps`, from its first frame to the last that fits; at its own rate it is unchanged.

    `valid` and `action` are those of the nearest frame. Between a valid and an invalid frame the pose is the valid
    one's, unmixed. Raises InputError unless `fps` is positive.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"{sequence.id}: cannot resample to {fps} frames per second, expected a positive number")
    check_body(sequence, body)
    if fps == sequence.fps:
        return sequence
    ratio = sequence.fps / fps
    last = sequence.num_frames - 1
    # The tolerance keeps the last frame where rounding puts it a hair beyond the end.
    count = math.floor(last / ratio + 1e-6) + 1
    near = Neighbours.at((torch.arange(count, dtype=torch.float64) * ratio).clamp_max(last), last + 1)
    nearest = torch.where(near.weight < 0.5, near.lower, near.upper).numpy()
    return replace(
        sequence,
        **_interpolated(sequence, near).posed_arrays(body),
        fps=float(fps),
        valid=sequence.valid[:, nearest],
        action=sequence.action[:, nearest],
    )


def _interpolated(sequence: MotionSequence, near: Neighbours) -> SmplParameters:
    """Interpolate the parameters between the neighbouring frames."""
    valid = torch.from_numpy(sequence.valid)
    start, end = valid[:, near.lower], valid[:, near.upper]
    weight = torch.where(start == end, near.weight, end.float())
    parameters = sequence.parameters
    return parameters[:, near.lower].blended(parameters[:, near.upper], weight)


def heading(joints: Float32[np.ndarray, "24 3"], global_orient: Float32[np.ndarray, "3 3"]) -> Float32[np.ndarray, "2"]:
    """Compute the unit XY direction that a person faces.

    It is at right angles to the line across hips and shoulders, which lies level in a standing person and in one on
    their back or belly. On their side that line is upright, but the pelvis' forward axis is level.
    """
    right = to_the_right(joints, "hip", "shoulder")
    facing = np.array([-right[1], right[0]])
    if np.linalg.norm(facing) < 0.5 * np.linalg.norm(right):
        facing = global_orient[:2, 2]
    return (facing / np.linalg.norm(facing)).astype(np.float32)


def transform(
    sequence: MotionSequence, turn: Float32[np.ndarray, "3 3"], offset: Float32[np.ndarray, "3"], body: Body
) -> MotionSequence:
    """Turn all persons together about the world's origin, then shift them by `offset` (m)."""
    check_body(sequence, body)
    moved = sequence.parameters.moved(torch.from_numpy(turn), torch.from_numpy(offset), body)
    return replace(
        sequence,
        transl=moved.transl.numpy(),
        global_orient=moved.global_orient.numpy(),
        joints=sequence.joints @ turn.T + offset,
    )


def canonical_start(sequence: MotionSequence, body: Body) -> MotionSequence:
    """Turn and shift all persons together so that person 0 starts above the XY origin, facing +Y.

    The start is person 0's first valid frame. Heights are unchanged. A motion of a scene does not lie in the scene's
    coordinates after that, which its provenance then says (`MOVED`).
    """
    check_body(sequence, body)
    if sequence.scene_id is not None:
        sequence = replace(sequence, provenance=sequence.provenance | {MOVED: "from the scene to the origin"})
    start = int(sequence.valid[0].argmax())
    cos_sin = heading(sequence.joints[0, start], sequence.global_orient[0, start])[::-1]
    (cos, sin), turn = cos_sin, np.eye(3, dtype=np.float32)
    turn[:2, :2] = [[cos, -sin], [sin, cos]]
    origin = sequence.joints[0, start, 0] * np.array([1, 1, 0], dtype=np.float32)
    return transform(sequence, turn, -turn @ origin, body)


def check_body(sequence: MotionSequence, body: Body) -> None:
    """Raise InputError when the joints of the sequence come from another body."""
    if body.name != sequence.body:
        raise InputError(f"{sequence.id}: its joints are those of body {sequence.body!r}, not {body.name!r}")
