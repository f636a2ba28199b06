"""What small transformers need that learn pictures from nothing: places that can be told apart, and a gentle start."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

POSITIONS_SIZE = 0.5  # of the position embedding at first, beside colours of about one


def waves(rows: int, columns: int, width: int) -> Float[Tensor, "token width"]:
    """Sines and cosines of a patch's row and column, from which a network that has seen little learns places sooner."""
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    angles = (grid[:, :, None] * math.pi * torch.logspace(-5, -1, width // 4, base=2)).flatten(1)
    return POSITIONS_SIZE * torch.cat([angles.sin(), angles.cos()], dim=1)


def schedule(progress: float, warm_up: float) -> float:
    """Share of the learning rate: linear over `warm_up` of the way, then cosine to zero."""
    return min(progress / warm_up, 1.0) * 0.5 * (1 + math.cos(math.pi * progress)) + 1e-3
