"""Many small minimisations at once by L-BFGS (Nocedal and Wright 2006, alg. 7.4), each with its own step lengths.

A row never depends on another one, energies never rise, and nothing waits for the device.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

BACKTRACK = 0.3
Evaluate = Callable[[Float[Tensor, "batch variable"]], Float[Tensor, " batch"]]
Pair = tuple[Tensor, Tensor, Tensor]


def minimise(
    energy: Evaluate,
    start: Float[Tensor, "batch variable"],
    limit: Callable[[Float[Tensor, "batch variable"]], Float[Tensor, "batch one"]],
    steps: int,
) -> Float[Tensor, "batch variable"]:
    """`limit` says by which factor, at most 1, a step must be shortened to be believed.

    A step that does not lower a row's energy is not taken: the row tries a shorter one next, knowing the slope there.
    As long as no curvature is known, a step goes where a square falls to zero (Polyak 1969): further out, one-sided
    energies as those of contacts would be zero too and let nobody come back.
    """
    here, value, slope = start, *_value_and_slope(energy, start)
    pairs: list[Pair] = []
    length = torch.ones_like(value)[:, None]
    for _ in range(steps):
        first = 2 * value[:, None] / _dot(slope, slope).clamp_min(1e-30)
        step = -_times_inverse_hessian(slope, pairs, first)
        step = length * limit(step) * step
        trial, trial_value, trial_slope = here + step, *_value_and_slope(energy, here + step)
        pairs.append(_pair(step, trial_slope - slope))
        better = (trial_value < value)[:, None]
        here, slope = torch.where(better, trial, here), torch.where(better, trial_slope, slope)
        value = torch.minimum(value, trial_value.nan_to_num(torch.inf))
        length = torch.where(better, 1.0, BACKTRACK * length)
    return here


def _value_and_slope(energy: Evaluate, at: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        at = at.detach().requires_grad_()
        value = energy(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), slope


def _dot(one: Tensor, two: Tensor) -> Tensor:
    return (one * two).sum(dim=1, keepdim=True)


def _pair(step: Tensor, change: Tensor) -> Pair:
    """Step, change of slope and the reciprocal of their product; 0, so of no effect, without positive curvature."""
    product = _dot(step, change)
    convex = product > 1e-9 * _dot(step, step)
    return step, change, torch.where(convex, 1 / torch.where(convex, product, 1.0), 0.0)


def _times_inverse_hessian(slope: Tensor, pairs: list[Pair], scale: Tensor) -> Tensor:
    rest, shares = slope, []
    for step, change, inverse in reversed(pairs):
        shares.append(inverse * _dot(step, rest))
        rest = rest - shares[-1] * change
    for step, change, inverse in pairs:
        scale = torch.where(inverse > 0, _dot(step, change) / _dot(change, change).clamp_min(1e-30), scale)
    rest = scale * rest
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        rest = rest + (share - inverse * _dot(change, rest)) * step
    return rest
