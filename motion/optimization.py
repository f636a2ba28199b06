"""Common parts of all trainings but their loops: the fall of the learning rate, and the average of the weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def cosine_decay(progress: float, floor: float = 0.0) -> float:
    """Compute the share of the highest learning rate at `progress`: from 1 along half a cosine to `floor`.

    `progress` is clipped to 0 (start) to 1 (end).
    """
    return float(floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * min(max(progress, 0.0), 1.0))))


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
