"""Duplicates: copies of a motion, found by signatures that do not depend on place, heading or frame rate."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from scipy.spatial import cKDTree

from motion.clips.transforms import Neighbours
from motion.rotations import slerp
from motion.sequence import MotionSequence
from motion.skeleton import JOINT

SIGNATURE_TIMES = torch.tensor([0.0, *(0.3 * 2 ** (k / 2) for k in range(13))], dtype=torch.float64)  # up to 19.2 s
SIGNATURE_JOINTS = [JOINT[name] for name in ("head", "left_wrist", "right_wrist", "left_ankle", "right_ankle")]
SAME_M = 0.015  # by which copies may differ; two takes of a raised hand by one actor differ by 0.027 (Bandai)
SAME_S = 0.075


def signature(sequence: MotionSequence) -> Float32[np.ndarray, " number"]:
    """Compute numbers (metres) that agree within `SAME_M` for two copies of a motion, for `find_duplicates`.

    They tell, at some times from the start on, the places of head, hands and feet as seen from the pelvis, how the
    pelvis leans and how far it went since the time before: on the average of all persons, and nothing of place and
    heading. Times beyond the end give zeros; the last numbers are the duration and how many persons there are.
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
    numbers = torch.cat([orient[:, :, 2:], seen], dim=2).mean(dim=0)
    numbers[frames > last] = 0
    # A copy at another rate may lack a frame or so at the end.
    seconds = last / sequence.fps * SAME_M / SAME_S
    return np.append(numbers.numpy().ravel(), np.array([seconds, sequence.num_persons], dtype=np.float32))


def find_duplicates(ids: Sequence[str], signatures: Float32[np.ndarray, "clip number"]) -> dict[str, str]:
    """Map the id of each clip that repeats an earlier one to that one's id, which is no repetition itself."""
    pairs = cKDTree(signatures).query_pairs(SAME_M, p=np.inf, output_type="ndarray")
    first: dict[str, str] = {}
    for earlier, later in pairs[np.lexsort(pairs.T)]:
        if ids[earlier] not in first:
            first.setdefault(ids[later], ids[earlier])
    return first
