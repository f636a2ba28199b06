"""Guides: how the conditions and the estimates of several denoiser branches are combined.

A guide says which branches of the conditions the network must see (`branches`, once per request, stacked along the
batch so that they share one forward pass) and how their estimates of x_0 become one (`combine`, at every step). The
equations are written for ε; at a given x_t, x_0 is affine in ε, so mixing estimates of x_0 is the same. Identities and
the mask of valid frames stay in all branches.

Classifier guidance (`motion.guidance.classifier`) comes after that and moves the one estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from motion.denoiser import Conditions
from motion.denoiser.conditions import CONDITION_KINDS, ConditionKind
from motion.diffusion import broadcast_over


@runtime_checkable
class Guide(Protocol):
    """Interface of a guide; its scales hold one number per sample, so that neighbours may be guided differently."""

    @property
    def num_forward_passes(self) -> int:
        """Denoiser passes per step: the number of branches."""

    def branches(self, conditions: Conditions) -> Conditions:
        """Stack the conditions of all branches along the batch axis."""

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        """Combine the stacked branches' estimates of x_0 into one per sample."""


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance (eq. 2.21): unconditional + scale · (conditional - unconditional)."""

    scale: Float[Tensor, " batch"]
    """Scale per sample; 1 is the conditional estimate."""

    @property
    def num_forward_passes(self) -> int:
        """Denoiser passes per step: conditional and unconditional."""
        return 2

    def branches(self, conditions: Conditions) -> Conditions:
        """Stack the conditional and the unconditional branch."""
        return conditions.followed_by(conditions.without(_everyone(conditions)))

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        """Extrapolate from the unconditional to the conditional estimate (eq. 2.21)."""
        conditional, unconditional = x0.chunk(2)
        return unconditional + broadcast_over(self.scale, conditional) * (conditional - unconditional)


@dataclass(frozen=True)
class Separated:
    """Separate weight for each kind of condition (Liu et al. 2022, eq. 11).

    The estimate is unconditional + Σ_k scale_k · (only k - unconditional). Conditions without a scale are dropped from
    every pass.
    """

    scales: Mapping[ConditionKind, Float[Tensor, " batch"]]
    """Scale per sample of each kind of condition."""

    @property
    def num_forward_passes(self) -> int:
        """Denoiser passes per step: the unconditional one and one per scale."""
        return 1 + len(self.scales)

    def branches(self, conditions: Conditions) -> Conditions:
        """Stack the unconditional branch and one branch per scaled kind."""
        everyone = _everyone(conditions)
        only = [
            conditions.without(everyone, [other for other in CONDITION_KINDS if other != kind]) for kind in self.scales
        ]
        return conditions.without(everyone).followed_by(*only)

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        """Add each kind's scaled difference to the unconditional estimate."""
        unconditional, *only = x0.chunk(self.num_forward_passes)
        scaled = [
            broadcast_over(scale, unconditional) * (conditional - unconditional)
            for scale, conditional in zip(self.scales.values(), only, strict=True)
        ]
        return unconditional + sum(scaled)


@dataclass(frozen=True)
class Unguided:
    """No guidance: the conditional estimate, used outside a guide's interval too."""

    @property
    def num_forward_passes(self) -> int:
        """Denoiser passes per step: the conditional one."""
        return 1

    def branches(self, conditions: Conditions) -> Conditions:
        """Return the conditions unchanged."""
        return conditions

    def combine(self, x0: Float[Tensor, "branches *rest"]) -> Float[Tensor, "batch *rest"]:
        """Return the estimate unchanged."""
        return x0


def _everyone(conditions: Conditions) -> Tensor:
    return torch.ones(len(conditions.valid), dtype=torch.bool, device=conditions.valid.device)
