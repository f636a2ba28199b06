"""Foot contacts in the field's formats: thresholds of speed and height."""

from jaxtyping import Float
from torch import Tensor

from motion.skeleton import FEET

HUMANML3D_STILL_M2 = 0.002  # squared metres per frame; a slower foot is in contact
INTERGEN_STILL_M2 = 0.001
CONTACT_HEIGHTS_M = (0.12, 0.05, 0.12, 0.05)  # left ankle and foot, right ankle and foot


def slow_feet(joints: Float[Tensor, "*batch frame joint 3"], limit: float) -> Float[Tensor, "*batch frame-1 4"]:
    """Mark feet that hardly move to the next frame: 1 where a joint of `FEET` is slower than `limit`, else 0.

    `limit` is in squared metres per frame; either axis may be up.
    """
    return (joints[..., FEET, :].diff(dim=-3).square().sum(dim=-1) < limit).to(joints.dtype)
