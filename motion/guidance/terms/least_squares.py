"""Damped Newton steps by conjugate gradients (Nocedal and Wright 2006, alg. 5.3), of many small problems at once.

Work is fixed: no row depends on another one, nothing waits for the device, and as neither steps nor their lengths are
searched for, what an input is off by, as rounding, hardly grows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 12
TINY = 1e-30


@dataclass(frozen=True, eq=False)
class Prior:
    """Independent Gaussian processes over the frames, one for each part; its covariance also preconditions."""

    kernels: Float[Tensor, "batch person frame frame"]
    variances: Float[Tensor, " part"]
    ease: Float[Tensor, "batch person 1 part"]
    """By how much more a step is tried in a part than its variance says; where steps end up does not depend on it."""

    def smoothed(self, pull: Float[Tensor, "batch person frame part"]) -> Float[Tensor, "batch person frame part"]:
        """Covariance times `pull`. A correction is known by the pull that it answers to, so nothing is inverted."""
        return self.kernels @ (pull * self.variances)


def damped_step(
    slope: Float[Tensor, "batch person frame part"],
    curvature: Callable[[Tensor], Tensor],
    prior: Prior,
    damping: float,
) -> Float[Tensor, "batch person frame part"]:
    """The pull whose smoothed self, s, makes slope · s + s · curvature(s) / 2 small, and its damped prior.

    `damping` is of this step's own prior against that of the whole correction (Levenberg 1944): contacts that a step
    would run into, and limbs that it would turn too far, are not known to its quadratic.
    """
    step, rest = torch.zeros_like(slope), -slope
    pull = prior.ease * rest
    along = prior.smoothed(pull)
    size = _dot(rest, along)
    for _ in range(ITERATIONS):
        bent = curvature(along) + (1 + damping) * pull
        length = size / _dot(along, bent).clamp_min(TINY)
        step, rest = step + length * pull, rest - length * bent
        eased = prior.ease * rest
        smooth = prior.smoothed(eased)
        before, size = size, _dot(rest, smooth)
        share = size / before.clamp_min(TINY)
        pull, along = eased + share * pull, smooth + share * along
    return step


def _dot(one: Tensor, two: Tensor) -> Tensor:
    return (one * two).sum(dim=(1, 2, 3), keepdim=True)
