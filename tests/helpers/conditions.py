"""Conditions of any size, drawn at random, the same every time."""

import torch

from motion.denoiser import Conditions
from motion.denoiser.scene_tokens import HEIGHT_SHAPE
from motion.features import POINTS_PER_GROUP


def conditions(
    batch: int, persons: int, frames: int, text_dim: int, groups: int = 0, heights: bool = False
) -> Conditions:
    """Draw conditions of this size, the same every time."""
    generator = torch.Generator().manual_seed(3)
    return Conditions(
        valid=torch.ones(batch, persons, frames, dtype=torch.bool),
        known=torch.zeros(batch, persons, frames, dtype=torch.bool),
        identity=torch.arange(persons).expand(batch, persons),
        person_class=torch.zeros(batch, persons, dtype=torch.long),
        action=torch.zeros(batch, persons, frames, dtype=torch.long),
        text=torch.randn(batch, 1, 1, text_dim, generator=generator),
        text_valid=torch.ones(batch, 1, 1, dtype=torch.bool),
        points=torch.randn(batch, groups, POINTS_PER_GROUP, 3, generator=generator),
        points_valid=torch.ones(batch, groups, dtype=torch.bool),
        heights=torch.rand(batch, *(HEIGHT_SHAPE if heights else (0, 0)), 2, generator=generator),
    )
