"""Reference numbers as tensors, and comparisons with them."""

from pathlib import Path

import numpy as np
import roma
import torch
from torch import Tensor


def load(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def z_up(points: Tensor) -> Tensor:
    return torch.stack([points[..., 0], -points[..., 2], points[..., 1]], dim=-1)


def y_up(points: Tensor) -> Tensor:
    return torch.stack([points[..., 0], points[..., 2], -points[..., 1]], dim=-1)


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-5, rtol=0)


def matrix_from_wxyz(quaternion: Tensor) -> Tensor:
    return roma.unitquat_to_rotmat(quaternion.roll(-1, dims=-1))
