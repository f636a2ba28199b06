"""Ways to steer the sampler toward a condition, apart from sampler and network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.conditions import Conditions

EstimateX0 = Callable[[Tensor, Tensor, Conditions], Tensor]


@dataclass(frozen=True)
class ClassifierFree:
    """Classifier-free guidance (eq. 2.21): unconditional + scale · (conditional - unconditional).

    The equation is written for ε; at a given x_t, x_0 is affine in ε, so mixing the x_0 estimates is the same.
    Identities and the mask of valid frames stay in both branches, which share one batched forward.
    """

    scale: Float[Tensor, " batch"]
    num_forward_passes: ClassVar[int] = 2

    def __call__(
        self,
        estimate_x0: EstimateX0,
        x_t: Float[Tensor, "batch *rest"],
        t: Int[Tensor, " batch"],
        conditions: Conditions,
    ) -> Float[Tensor, "batch *rest"]:
        unconditional = conditions.without(torch.ones(len(x_t), dtype=torch.bool, device=x_t.device))
        both = estimate_x0(torch.cat([x_t, x_t]), torch.cat([t, t]), conditions.followed_by(unconditional))
        with_condition, without = both.chunk(2)
        scale = self.scale.view(-1, *(1,) * (x_t.ndim - 1))
        return without + scale * (with_condition - without)
