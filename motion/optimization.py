"""Common parts of all trainings but their loops: the fall of the learning rate, and the average of the weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel


def cosine_decay(progress: float, floor: float = 0.0) -> float:
    """Compute the share of the highest learning rate at `progress`: from 1 along half a cosine to `floor`.

    `progress` is clipped to 0 (start) to 1 (end).
    """
    return float(floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * min(max(progress, 0.0), 1.0))))


def one_cycle(optimizer: torch.optim.Optimizer, learning_rate: float, steps: int) -> OneCycleLR:
    """Make the schedule of a rise to `learning_rate` over a tenth of the steps and of a fall to zero (Smith 2018).

    The rise takes two steps at least: torch divides by zero where it takes one.
    """
    return OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=max(0.1, min(2 / steps, 0.9)))


def weight_average(network: nn.Module, decay: float) -> AveragedModel:
    """Make the exponential moving average of a network's weights in fp32; its `module` is the averaged network.

    The averaged network is in evaluation mode. `update_parameters` takes the weights after each step. Early steps
    average over all so far, so that the random start is forgotten: update n keeps the share min(`decay`, n / (n + 9)).
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int) -> None:
        kept = min(decay, int(count) / (int(count) + 9))
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, 1 - kept)

    average = AveragedModel(network, multi_avg_fn=update).float()
    average.n_averaged.fill_(1)  # the start, which would else be left out
    average.module.eval().requires_grad_(False)
    return average
