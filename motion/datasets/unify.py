"""Steps that make clips of all sources alike: one frame rate, one floor, one place and direction to start from,
one length, no motion twice.

World: Z up, metres. Rotations are resampled by slerp, positions linearly. A rotation R of the world turns
SMPL's parameters into `global_orient' = R O` and `transl' = R (transl + J0) - J0`, because SMPL rotates about
J0, the rest pelvis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise, product

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.ndimage import median_filter
from scipy.spatial import cKDTree
from torch import Tensor

from motion.body import Body
from motion.errors import InputError
from motion.kinematics import forward_kinematics
from motion.rotations import slerp
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, NUM_JOINTS

# All around, 20 to 30 degrees apart: where the outermost skin of a limb is looked for.
DIRECTIONS = torch.tensor([d for d in product((-2.0, -1.0, 0.0, 1.0, 2.0), repeat=3) if any(d)])
SPIKE = 0.1  # seconds; the lowest skin is median-filtered over this time
GROUND_SECONDS, GROUND_SHARE = 0.25, 0.05  # for so long, and in so many of the frames, the ground is touched
GROUND_BAND = 0.03  # metres over which the touched skin may spread

SIGNATURE_TIMES = torch.tensor([0.0, *(0.3 * 2 ** (k / 2) for k in range(13))], dtype=torch.float64)  # up to 19.2 s
SIGNATURE_JOINTS = [JOINT[name] for name in ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")]
SAME = 0.015  # metres by which copies may differ; two takes of a raised hand by one actor differ by 0.027 (Bandai)
SAME_SECONDS = 0.075


@dataclass(frozen=True)
class Neighbours:
    """For each new frame, the old frames around it and how far it lies from `lower` (0) to `upper` (1)."""

    lower: Int64[Tensor, " frame"]
    upper: Int64[Tensor, " frame"]
    weight: Float[Tensor, " frame"]

    @classmethod
    def at(cls, positions: Float[Tensor, " frame"], num_frames: int) -> "Neighbours":
        """Neighbours of fractional frame numbers within 0 .. num_frames - 1."""
        lower = positions.floor().long().clamp(0, num_frames - 1)
        return cls(lower, (lower + 1).clamp_max(num_frames - 1), (positions - lower).float())


def to_z_up(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Y-up coordinates in the Z-up world: (x, y, z) to (x, -z, y)."""
    x, y, z = points.unbind(dim=-1)
    return torch.stack([x, -z, y], dim=-1)


def crop(sequence: MotionSequence, start: int, stop: int) -> MotionSequence:
    """Frames `start` to `stop` (exclusive) of every person."""
    frames = slice(start, stop)
    per_frame = ("transl", "global_orient", "body_pose", "joints", "valid", "action")
    return replace(sequence, **{name: getattr(sequence, name)[:, frames] for name in per_frame})


def cut(sequence: MotionSequence, start: float, stop: float) -> MotionSequence:
    """The frames from second `start` to `stop` (exclusive), each taken to the nearest frame."""
    first, last = round(start * sequence.fps), round(stop * sequence.fps)
    if not 0 <= first < last <= sequence.num_frames:
        seconds = sequence.num_frames / sequence.fps
        raise InputError(f"{sequence.id}: is {seconds:g} s long, expected to hold {start:g} s to {stop:g} s")
    return crop(sequence, first, last)


def windows(seconds: float, max_seconds: float) -> list[tuple[float, float]]:
    """`seconds` in as few pieces as fit into `max_seconds`, all of one length, as (start, stop) in seconds."""
    count = max(1, math.ceil(seconds / max_seconds - 1e-6))
    return list(pairwise(seconds * i / count for i in range(count + 1)))


def resample(sequence: MotionSequence, fps: float, body: Body) -> MotionSequence:
    """The same motion at `fps`, from its first frame to the last that fits; the same record if the rate fits.

    `valid` and `action` are those of the nearest frame. Between a valid and an invalid frame the
    pose is the valid one's, unmixed.
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
    transl, global_orient, body_pose = _interpolate(sequence, near)
    joints = body.joints(transl, global_orient, body_pose, torch.from_numpy(sequence.betas))
    return replace(
        sequence,
        fps=float(fps),
        transl=transl.numpy(),
        global_orient=global_orient.numpy(),
        body_pose=body_pose.numpy(),
        joints=joints.numpy(),
        valid=sequence.valid[:, nearest],
        action=sequence.action[:, nearest],
    )


def _interpolate(sequence: MotionSequence, near: Neighbours) -> tuple[Tensor, Tensor, Tensor]:
    """`transl`, `global_orient` and `body_pose` between the neighbouring frames."""
    valid = torch.from_numpy(sequence.valid)
    start, end = valid[:, near.lower], valid[:, near.upper]
    weight = torch.where(start == end, near.weight, end.float())
    arrays = [torch.from_numpy(a) for a in (sequence.transl, sequence.global_orient, sequence.body_pose)]
    transl, global_orient, body_pose = ((a[:, near.lower], a[:, near.upper]) for a in arrays)
    per_joint = weight[..., None].expand(*weight.shape, sequence.body_pose.shape[2])
    return (
        torch.lerp(*transl, weight[..., None]),
        slerp(*global_orient, weight),
        slerp(*body_pose, per_joint),
    )


def heading(joints: Float32[np.ndarray, "24 3"], global_orient: Float32[np.ndarray, "3 3"]) -> Float32[np.ndarray, "2"]:
    """Unit XY direction a person faces.

    It is at right angles to the line across hips and shoulders, which lies level in a standing person and in
    one on their back or belly. On their side that line is upright, but the pelvis' forward axis is level.
    """
    across = joints[JOINT["left_hip"]] - joints[JOINT["right_hip"]]
    across = across + joints[JOINT["left_shoulder"]] - joints[JOINT["right_shoulder"]]
    facing = np.array([across[1], -across[0]])
    if np.linalg.norm(facing) < 0.5 * np.linalg.norm(across):
        facing = global_orient[:2, 2]
    return (facing / np.linalg.norm(facing)).astype(np.float32)


def transform(
    sequence: MotionSequence, turn: Float32[np.ndarray, "3 3"], offset: Float32[np.ndarray, "3"], body: Body
) -> MotionSequence:
    """All persons together, turned about the world's origin, then shifted by `offset`."""
    check_body(sequence, body)
    rest_pelvis = body.rest_joints(torch.from_numpy(sequence.betas))[:, 0].numpy()[:, None]
    return replace(
        sequence,
        transl=(sequence.transl + rest_pelvis) @ turn.T + offset - rest_pelvis,
        global_orient=turn @ sequence.global_orient,
        joints=sequence.joints @ turn.T + offset,
    )


def settle(sequence: MotionSequence, body: Body) -> MotionSequence:
    """Lower or lift all persons together so that the ground they stand or lie on is z = 0.

    The ground is the lowest level at which someone's lowest skin stays for some time, so neither a bed beside it
    nor a few frames that dive below it move the floor. Nothing changes where no frame is valid.
    """
    check_body(sequence, body)
    lowest = np.where(sequence.valid, lowest_skin(sequence, body), np.inf)
    lowest = median_filter(lowest, (1, 1 + 2 * round(SPIKE * sequence.fps / 2)), mode="nearest").min(axis=0)
    heights = np.sort(lowest[np.isfinite(lowest)])
    if not len(heights):
        return sequence
    stay = max(math.ceil(GROUND_SECONDS * sequence.fps), math.ceil(GROUND_SHARE * len(heights)))
    offset = np.array([0, 0, -_lowest_level(heights, min(stay, len(heights)))], dtype=np.float32)
    return transform(sequence, np.eye(3, dtype=np.float32), offset, body)


def _lowest_level(heights: Float32[np.ndarray, " frame"], stay: int) -> float:
    """Middle of the lowest `GROUND_BAND` that holds `stay` of the sorted heights, or of the lowest if none does."""
    spread = heights[stay - 1 :] - heights[: len(heights) - stay + 1]
    base = heights[np.argmax(spread <= GROUND_BAND)]
    return float(np.median(heights[(heights >= base) & (heights <= base + GROUND_BAND)]))


def lowest_skin(sequence: MotionSequence, body: Body) -> Float32[np.ndarray, "person frame"]:
    """Height of each person's lowest skin, by linear blend skinning of the few hundred outermost vertices.

    With A_j, b_j the height row of joint j's transform from rest to world, a vertex v of weights w_j is at
    `z = sum_j w_j (A_j v + b_j)`: one matrix product for all frames.
    """
    betas = torch.from_numpy(sequence.betas)
    rest = body.rest_joints(betas)[:, None]
    pose = [torch.from_numpy(a) for a in (sequence.transl, sequence.global_orient, sequence.body_pose)]
    joints, rotations = forward_kinematics(rest.expand(-1, sequence.num_frames, -1, -1), *pose)
    rows = rotations[..., 2, :]
    shifts = joints[..., 2] - (rows * rest).sum(dim=-1)
    transforms = torch.cat([rows, shifts[..., None]], dim=-1).flatten(-2)
    vertices, weights = _outermost_skin(body)
    skin = body.v_template[vertices] + torch.einsum("pb,vkb->pvk", betas, body.shapedirs[vertices])
    homogeneous = torch.nn.functional.pad(skin, (0, 1), value=1.0)
    weighted = torch.einsum("vj,pvk->pjkv", weights, homogeneous).flatten(1, 2)
    return (transforms @ weighted).amin(dim=-1).numpy()


@lru_cache(maxsize=4)
def _outermost_skin(body: Body) -> tuple[Int64[Tensor, " vertex"], Float[Tensor, "vertex 24"]]:
    """The vertices that lie farthest out on a joint in one of `DIRECTIONS`, and their weights on the 24 joints."""
    owner: list[int] = []
    for own, parent in enumerate(body.parents.tolist()):  # fingers, jaw and eyes go with what they hang on
        owner.append(body.joint_indices.index(own) if own in body.joint_indices else owner[parent])
    weights = torch.zeros(len(body.weights), NUM_JOINTS).index_add_(1, torch.tensor(owner), body.weights)
    joint_of = weights.argmax(dim=1)
    groups = [(joint_of == joint).nonzero()[:, 0] for joint in joint_of.unique()]
    farthest = [group[(body.v_template[group] @ DIRECTIONS.T).argmax(dim=0)] for group in groups]
    vertices = torch.cat(farthest).unique()
    return vertices, weights[vertices]


def canonical_start(sequence: MotionSequence, body: Body) -> MotionSequence:
    """Turn and shift all persons together so that person 0 starts above the XY origin, facing +Y.

    The start is person 0's first valid frame. Heights are unchanged.
    """
    check_body(sequence, body)
    start = int(sequence.valid[0].argmax())
    cos_sin = heading(sequence.joints[0, start], sequence.global_orient[0, start])[::-1]
    (cos, sin), turn = cos_sin, np.eye(3, dtype=np.float32)
    turn[:2, :2] = [[cos, -sin], [sin, cos]]
    origin = sequence.joints[0, start, 0] * np.array([1, 1, 0], dtype=np.float32)
    return transform(sequence, turn, -turn @ origin, body)


def signature(sequence: MotionSequence) -> Float32[np.ndarray, " number"]:
    """Numbers (metres) that agree within `SAME` for two copies of a motion, for `find_duplicates`.

    They say, at some times from the start on, where head, hands and feet are as seen from the pelvis, how the pelvis
    leans and where it went since the time before: on the average of all persons, and nothing of place and heading.
    Times beyond the end give zeros; the last number is the duration.
    """
    last = sequence.num_frames - 1
    frames = SIGNATURE_TIMES * sequence.fps
    near = Neighbours.at(frames.clamp_max(last), last + 1)
    joints, orient = (torch.from_numpy(array) for array in (sequence.joints, sequence.global_orient))
    joints = torch.lerp(joints[:, near.lower], joints[:, near.upper], near.weight[:, None, None])
    orient = slerp(orient[:, near.lower], orient[:, near.upper], near.weight.expand(len(orient), -1))
    pelvis = joints[:, :, :1]
    steps = torch.diff(pelvis, dim=1, prepend=pelvis[:, :1])
    seen = torch.cat([steps, joints[:, :, SIGNATURE_JOINTS] - pelvis], dim=2) @ orient
    told = torch.cat([orient[:, :, 2:], seen], dim=2).mean(dim=0)
    told[frames > last] = 0
    # A copy at another rate may lack a frame or so at the end.
    seconds = last / sequence.fps * SAME / SAME_SECONDS
    return np.append(told.numpy().ravel(), np.float32(seconds))


def find_duplicates(ids: Sequence[str], signatures: Float32[np.ndarray, "clip number"]) -> dict[str, str]:
    """The id of each clip that repeats an earlier one, and that one's id, which is no repetition itself."""
    pairs = cKDTree(signatures).query_pairs(SAME, p=np.inf, output_type="ndarray")
    first: dict[str, str] = {}
    for earlier, later in pairs[np.lexsort(pairs.T)]:
        if ids[earlier] not in first:
            first.setdefault(ids[later], ids[earlier])
    return first


def check_body(sequence: MotionSequence, body: Body) -> None:
    """Raise InputError when the joints of the sequence come from another body."""
    if body.name != sequence.body:
        raise InputError(f"{sequence.id}: its joints are those of body {sequence.body!r}, not {body.name!r}")
