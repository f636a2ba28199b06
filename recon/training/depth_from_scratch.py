"""Helpers to train small vision transformers from scratch: position embeddings and a gentle start."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from motion.optimization import cosine_decay

POSITIONS_SIZE = 0.5  # initial size of the position embedding, beside colours of about one


def waves(rows: int, columns: int, width: int) -> Float[Tensor, "token width"]:
    """Compute sines and cosines of each patch's row and column, as start values of a position embedding.

    A small network needs less training from them than from random numbers.
    """
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    angles = (grid[:, :, None] * math.pi * torch.logspace(-5, -1, width // 4, base=2)).flatten(1)
    return POSITIONS_SIZE * torch.cat([angles.sin(), angles.cos()], dim=1)


def schedule(progress: float, warm_up: float) -> float:
    """Compute the share of the learning rate: linear over the share `warm_up` of the training, then cosine to zero."""
    return min(progress / warm_up, 1.0) * cosine_decay(progress) + 1e-3
