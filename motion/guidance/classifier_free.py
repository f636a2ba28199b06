"""Ways to steer the sampler toward its conditions, apart from sampler and network.

A guide says which branches of the conditions the network must see (`branches`, once per request, stacked along the
batch so that they share one forward) and how their estimates of x_0 become one (`combine`, at every step). The
equations are written for ε; at a given x_t, x_0 is affine in ε, so mixing estimates of x_0 is the same. Identities and
the mask of valid frames stay in all branches.

A classifier's guidance (`motion.guidance.classifier`) comes after that and moves the one estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from motion.denoiser import Conditions
from motion.denoiser.conditions import KINDS, Kind


@runtime_checkable
class Guide(Protocol):
    """`scale`-like fields have one number per sample, so that neighbours may be guided otherwise."""

    @property
    def num_forward_passes(self) -> int: ...

    def branches(self, conditions: Conditions) -> Conditions: ...

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]: ...


@dataclass(frozen=True)
class ClassifierFree:
    """Eq. 2.21: unconditional + scale · (conditional - unconditional)."""

    scale: Float[Tensor, " batch"]

    @property
    def num_forward_passes(self) -> int:
        return 2

    def branches(self, conditions: Conditions) -> Conditions:
        return conditions.followed_by(conditions.without(_everyone(conditions)))

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        told, untold = x0.chunk(2)
        return untold + _per_sample(self.scale, told) * (told - untold)


@dataclass(frozen=True)
class Separated:
    """A weight for each condition: unconditional + Σ_k scale_k · (only k - unconditional) (Liu et al. 2022, eq. 11).

    What has no scale is not told at all.
    """

    scales: Mapping[Kind, Float[Tensor, " batch"]]

    @property
    def num_forward_passes(self) -> int:
        return 1 + len(self.scales)

    def branches(self, conditions: Conditions) -> Conditions:
        everyone = _everyone(conditions)
        only = [conditions.without(everyone, [other for other in KINDS if other != kind]) for kind in self.scales]
        return conditions.without(everyone).followed_by(*only)

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        untold, *only = x0.chunk(self.num_forward_passes)
        scaled = [
            _per_sample(scale, untold) * (told - untold) for scale, told in zip(self.scales.values(), only, strict=True)
        ]
        return untold + sum(scaled)


@dataclass(frozen=True)
class Unguided:
    """The conditional estimate as it is: what is left where a guide is outside its interval."""

    @property
    def num_forward_passes(self) -> int:
        return 1

    def branches(self, conditions: Conditions) -> Conditions:
        return conditions

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        return x0


def _everyone(conditions: Conditions) -> Tensor:
    return torch.ones(len(conditions.valid), dtype=torch.bool, device=conditions.valid.device)


def _per_sample(scale: Float[Tensor, " batch"], like: Tensor) -> Tensor:
    return scale.to(like).view(-1, *(1,) * (like.ndim - 1))
