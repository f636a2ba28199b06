"""Rotation matrices, 6D and axis-angle rotations, thin over roma.

A 6D rotation is the first two **columns** of the matrix, flattened row by row:
``r00 r01 r10 r11 r20 r21`` (the thesis' order, and InterHuman's). HumanML3D writes the first column,
then the second: `columns_first` and `rows_first` convert between the two.
"""

import math
from typing import Literal

import numpy as np
import roma
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn.functional import normalize, one_hot

Axis = Literal["x", "y", "z"]


def matrix_to_6d(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """Convert rotation matrices to 6D rotations: their first two columns, row by row."""
    return matrix[..., :2].flatten(-2)


def matrix_from_6d(rotation: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Convert 6D rotations to matrices by Gram-Schmidt on the two columns (Zhou et al. 2019).

    Any 6 numbers give a proper rotation.
    """
    return roma.special_gramschmidt(rotation.unflatten(-1, (3, 2)))


def columns_first(rotation: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 6"]:
    """Convert 6D rotations from our order to HumanML3D's (first column, then second)."""
    return rotation.unflatten(-1, (3, 2)).mT.flatten(-2)


def rows_first(rotation: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 6"]:
    """Convert 6D rotations from HumanML3D's order to ours."""
    return rotation.unflatten(-1, (2, 3)).mT.flatten(-2)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert rotation matrices to axis-angle vectors, whose length is the angle in radians."""
    return roma.rotmat_to_rotvec(matrix)


def matrix_from_axis_angle(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Convert axis-angle vectors, whose length is the angle in radians, to rotation matrices."""
    return roma.rotvec_to_rotmat(rotvec)


def about(axis: Axis, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotate about a coordinate axis by `angle` radians, right-handed: about z, x turns towards y."""
    return matrix_from_axis_angle(angle[..., None] * torch.eye(3).to(angle)["xyz".index(axis)])


def about_degrees(axis: Axis, degrees: float | Tensor | np.ndarray) -> Float[Tensor, "*batch 3 3"]:
    """Rotate about a coordinate axis as `about` does, by degrees; the matrices are float32."""
    return about(axis, torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32)))


def yaw_matrix(yaw: float) -> Float32[np.ndarray, "3 3"]:
    """Rotate about the world's z axis by `yaw` radians, counterclockwise seen from above.

    It is `about("z", yaw)` in NumPy, 100 times as fast, for records and the thousands of boxes of a simulated room.
    """
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float32)


def rotate(rotation: Float[Tensor, "*batch 3 3"], vector: Float[Tensor, "*other 3"]) -> Float[Tensor, "*result 3"]:
    """Apply rotation matrices to vectors; the axes before the last broadcast."""
    return (rotation @ vector.unsqueeze(-1)).squeeze(-1)


def slerp(
    start: Float[Tensor, "*batch 3 3"], end: Float[Tensor, "*batch 3 3"], weight: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Interpolate along the shortest arc: `start` at weight 0, `end` at weight 1."""
    step = roma.rotmat_to_rotvec(start.mT @ end)
    return start @ roma.rotvec_to_rotmat(weight.unsqueeze(-1) * step)


def shortest_rotation(start: Float[Tensor, "*batch 3"], end: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotate one direction to another by the smallest angle; one of many such turns where they are opposite."""
    start, end = normalize(start, dim=-1), normalize(end, dim=-1)
    cos = (start * end).sum(dim=-1, keepdim=True)
    sideways = torch.linalg.cross(start, one_hot(start.abs().argmin(dim=-1), 3).to(start))
    opposite = 1 + cos < 10 * torch.finfo(start.dtype).eps
    axis = torch.where(opposite, sideways, torch.linalg.cross(start, end))
    return roma.unitquat_to_rotmat(normalize(torch.cat([axis, 1 + cos], dim=-1), dim=-1))
