"""How far two motions of the same frames lie apart, in metres.

MPJPE as in Ionescu et al. 2014 (Human3.6M): the mean distance of corresponding joints after the pelvis of every
frame is laid on that of the other motion, so that poses count (facing included) and the path over the floor does not.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.errors import InputError


def mpjpe(
    joints: Float[np.ndarray, "*batch frame 24 3"] | Float[Tensor, "*batch frame 24 3"],
    other: Float[np.ndarray, "*others other 24 3"] | Float[Tensor, "*others other 24 3"],
) -> float:
    """Root-aligned mean per-joint position error in metres; both must have the same shape."""
    if joints.shape != other.shape:
        raise InputError(
            f"cannot compare joints of shape {tuple(joints.shape)} with {tuple(other.shape)}, expected the same shape"
        )
    difference = _from_pelvis(joints) - _from_pelvis(other)
    return float(difference.norm(dim=-1).mean())


def _from_pelvis(
    joints: Float[np.ndarray, "*batch 24 3"] | Float[Tensor, "*batch 24 3"],
) -> Float[Tensor, "*batch 24 3"]:
    positions = torch.as_tensor(joints)
    return positions - positions[..., :1, :]
