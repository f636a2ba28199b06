"""6D, matrix and axis-angle rotations, thin over roma.

A 6D rotation is the first two **columns** of the matrix, flattened row by row:
``r00 r01 r10 r11 r20 r21`` (the thesis' order, and InterHuman's). HumanML3D writes the first column,
then the second: `columns_first` and `rows_first` convert between the two.
"""

import roma
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, one_hot


def matrix_to_6d(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    return matrix[..., :2].flatten(-2)


def matrix_from_6d(rotation: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Gram-Schmidt on the two columns (Zhou et al. 2019); any 6 numbers give a proper rotation."""
    return roma.special_gramschmidt(rotation.unflatten(-1, (3, 2)))


def columns_first(rotation: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 6"]:
    """Our 6D order to HumanML3D's (first column, then second)."""
    return rotation.unflatten(-1, (3, 2)).mT.flatten(-2)


def rows_first(rotation: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 6"]:
    """HumanML3D's 6D order to ours."""
    return rotation.unflatten(-1, (2, 3)).mT.flatten(-2)


def matrix_to_axis_angle(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    return roma.rotmat_to_rotvec(matrix)


def matrix_from_axis_angle(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    return roma.rotvec_to_rotmat(rotvec)


def slerp(
    start: Float[Tensor, "*batch 3 3"], end: Float[Tensor, "*batch 3 3"], weight: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Shortest-arc interpolation: `start` at weight 0, `end` at weight 1."""
    step = roma.rotmat_to_rotvec(start.mT @ end)
    return start @ roma.rotvec_to_rotmat(weight.unsqueeze(-1) * step)


def shortest_rotation(start: Float[Tensor, "*batch 3"], end: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation by the smallest angle that turns one direction to another; one of many where they are opposite."""
    start, end = normalize(start, dim=-1), normalize(end, dim=-1)
    cos = (start * end).sum(dim=-1, keepdim=True)
    sideways = torch.linalg.cross(start, one_hot(start.abs().argmin(dim=-1), 3).to(start))
    opposite = 1 + cos < 10 * torch.finfo(start.dtype).eps
    axis = torch.where(opposite, sideways, torch.linalg.cross(start, end))
    return roma.unitquat_to_rotmat(normalize(torch.cat([axis, 1 + cos], dim=-1), dim=-1))
