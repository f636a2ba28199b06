"""Ground of a clip: the lowest skin of its persons, and the floor they stand or lie on; metres, Z up."""

import math
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.ndimage import median_filter
from torch import Tensor

from motion.body import Body
from motion.clips.transforms import check_body, transform
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, NUM_JOINTS

LONGEST_LEAP_S = 0.7
SUPPORTED = tuple(
    ACTIONS.index(name)
    for name in (
        *("laying_in_bed", "sitting_in_bed", "sitting_in_chair"),
        *("sitting_in_lift", "sitting_in_walker", "sitting_on_bed_edge"),
    )
)
# All around, 20 to 30 degrees apart, to find the outermost skin of a limb.
DIRECTIONS = torch.tensor([d for d in product((-2.0, -1.0, 0.0, 1.0, 2.0), repeat=3) if any(d)])
SPIKE_S = 0.1  # window of the median filter on the lowest skin
GROUND_S, GROUND_SHARE = 0.25, 0.05  # the ground is touched for so long, and in so many of the frames
GROUND_BAND_M = 0.03  # over which the touched skin may spread


def settle(sequence: MotionSequence, body: Body) -> MotionSequence:
    """Lower or lift all persons together so that the ground they stand or lie on is z = 0.

    The ground is the lowest level at which a person's lowest skin stays for some time, so neither a bed nearby nor a
    few frames that dive below it move the floor. Nothing changes where no frame is valid.
    """
    check_body(sequence, body)
    lowest = np.where(sequence.valid, lowest_skin(sequence, body), np.inf)
    lowest = median_filter(lowest, (1, 1 + 2 * round(SPIKE_S * sequence.fps / 2)), mode="nearest").min(axis=0)
    heights = np.sort(lowest[np.isfinite(lowest)])
    if not len(heights):
        return sequence
    stay = max(math.ceil(GROUND_S * sequence.fps), math.ceil(GROUND_SHARE * len(heights)))
    offset = np.array([0, 0, -_lowest_level(heights, min(stay, len(heights)))], dtype=np.float32)
    return transform(sequence, np.eye(3, dtype=np.float32), offset, body)


def _lowest_level(heights: Float32[np.ndarray, " frame"], stay: int) -> float:
    """Find the middle of the lowest `GROUND_BAND_M` of the sorted heights that has `stay`, or of the lowest one."""
    spread = heights[stay - 1 :] - heights[: len(heights) - stay + 1]
    base = heights[np.argmax(spread <= GROUND_BAND_M)]
    return float(np.median(heights[(heights >= base) & (heights <= base + GROUND_BAND_M)]))


def lowest_skin(sequence: MotionSequence, body: Body) -> Float32[np.ndarray, "person frame"]:
    """Compute the height of each person's lowest skin, by linear blend skinning of the few hundred outermost vertices.

    With A_j, b_j the height row of joint j's transform from rest to world, a vertex v of weights w_j is at `z = sum_j
    w_j (A_j v + b_j)`: one matrix product for all frames.
    """
    parameters = sequence.parameters
    joints, rotations = parameters.kinematics(body)
    rows = rotations[..., 2, :]
    shifts = joints[..., 2] - (rows * parameters.rest_joints(body)).sum(dim=-1)
    transforms = torch.cat([rows, shifts[..., None]], dim=-1).flatten(-2)
    vertices, weights = _outermost_skin(body)
    skin = body.v_template[vertices] + torch.einsum("pb,vkb->pvk", parameters.betas, body.shapedirs[vertices])
    homogeneous = torch.nn.functional.pad(skin, (0, 1), value=1.0)
    weighted = torch.einsum("vj,pvk->pjkv", weights, homogeneous).flatten(1, 2)
    return (transforms @ weighted).amin(dim=-1).numpy()


@lru_cache(maxsize=4)
def _outermost_skin(body: Body) -> tuple[Int64[Tensor, " vertex"], Float[Tensor, "vertex 24"]]:
    """Find the vertices that lie farthest out on a joint in one of `DIRECTIONS`, and their weights on the 24 joints."""
    owner: list[int] = []
    for own, parent in enumerate(body.parents.tolist()):  # fingers, jaw and eyes go with the joint that they hang on
        owner.append(body.joint_indices.index(own) if own in body.joint_indices else owner[parent])
    weights = torch.zeros(len(body.weights), NUM_JOINTS).index_add_(1, torch.tensor(owner), body.weights)
    joint_of = weights.argmax(dim=1)
    groups = [(joint_of == joint).nonzero()[:, 0] for joint in joint_of.unique()]
    farthest = [group[(body.v_template[group] @ DIRECTIONS.T).argmax(dim=0)] for group in groups]
    vertices = torch.cat(farthest).unique()
    return vertices, weights[vertices]
