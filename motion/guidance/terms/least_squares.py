"""Damped Newton steps by conjugate gradients (Nocedal and Wright 2006, alg. 5.3), of many small problems at once.

The number of iterations is fixed: no row depends on another one and nothing waits for the device. Neither steps nor
their lengths are searched for, so that rounding errors of the input hardly grow.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 12
MIN_DIVISOR = 1e-30


@dataclass(frozen=True, eq=False)
class Prior:
    """Independent Gaussian processes over the frames, one for each part; its covariance also preconditions."""

    kernels: Float[Tensor, "batch person frame frame"]
    """Covariance of the frames of each person."""
    variances: Float[Tensor, " part"]
    """Variance of each part of a correction."""
    step_scale: Float[Tensor, "batch person 1 part"]
    """Over-relaxation factor of each part; affects speed, not the fixed point."""

    def smoothed(self, pull: Float[Tensor, "batch person frame part"]) -> Float[Tensor, "batch person frame part"]:
        """Multiply `pull` by the covariance.

        A correction is represented by the pull that it answers to, so nothing is inverted.
        """
        return self.kernels @ (pull * self.variances)


def damped_step(
    slope: Float[Tensor, "batch person frame part"],
    curvature: Callable[[Tensor], Tensor],
    prior: Prior,
    damping: float,
) -> Float[Tensor, "batch person frame part"]:
    """Find the pull whose smoothed self s minimizes slope · s + s · curvature(s) / 2 plus its damped prior.

    `damping` weighs this step's own prior against that of the whole correction (Levenberg 1944): the quadratic does not
    know contacts that a step would run into, nor limbs that it would turn too far.
    """
    step, rest = torch.zeros_like(slope), -slope
    pull = prior.step_scale * rest
    along = prior.smoothed(pull)
    size = _dot(rest, along)
    for _ in range(ITERATIONS):
        bent = curvature(along) + (1 + damping) * pull
        length = size / _dot(along, bent).clamp_min(MIN_DIVISOR)
        step, rest = step + length * pull, rest - length * bent
        scaled = prior.step_scale * rest
        smooth = prior.smoothed(scaled)
        before, size = size, _dot(rest, smooth)
        share = size / before.clamp_min(MIN_DIVISOR)
        pull, along = scaled + share * pull, smooth + share * along
    return step


def _dot(one: Tensor, two: Tensor) -> Tensor:
    return (one * two).sum(dim=(1, 2, 3), keepdim=True)
