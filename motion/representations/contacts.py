"""When the field's formats say that a foot touches the floor: thresholds of speed and height."""

from jaxtyping import Float
from torch import Tensor

from motion.skeleton import FEET

HUMANML3D_STILL = 0.002  # squared metres per frame below which a foot is in contact
INTERGEN_STILL = 0.001
CONTACT_HEIGHTS = (0.12, 0.05, 0.12, 0.05)  # metres; left ankle and foot, right ankle and foot


def slow_feet(joints: Float[Tensor, "*batch frame joint 3"], limit: float) -> Float[Tensor, "*batch frame-1 4"]:
    """1 where ankle or foot hardly moves to the next frame, else 0; either axis may be up."""
    return (joints[..., FEET, :].diff(dim=-3).square().sum(dim=-1) < limit).to(joints.dtype)
