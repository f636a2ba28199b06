"""Room as the denoiser sees it: object points in groups of 64, one token each (thesis §4.5), and a map of heights.

Metres, Z up, the floor at z = 0. The map lies before a fixed camera: its origin is on the floor below, y is ahead.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.errors import InputError
from motion.features import POINTS_PER_GROUP

HEIGHT_SHAPE = (32, 32)  # rows along y, columns along x
HEIGHT_PATCH = 8  # cells a side, one token
CELL_M = 0.25  # side
TALLEST_M = 2.0  # what is higher counts as this high
_BITS = 10


def group_points(points: Float[Tensor, "point 3"]) -> Float[Tensor, "group 64 3"]:
    """Cut points (metres, Z up) into compact groups of 64 along a Z-order curve.

    The result does not depend on the order of the points; the last group is filled up with its last point. Raises
    InputError where a point is not finite.
    """
    _check(points)
    if len(points) == 0:
        return points.new_zeros(0, POINTS_PER_GROUP, 3)
    for axis in (2, 1, 0):
        points = points[torch.argsort(points[:, axis], stable=True)]
    ordered = points[torch.argsort(_morton_code(points), stable=True)]
    missing = -len(ordered) % POINTS_PER_GROUP
    return torch.cat([ordered, ordered[-1:].expand(missing, 3)]).unflatten(0, (-1, POINTS_PER_GROUP))


def _morton_code(points: Float[Tensor, "point 3"]) -> Int[Tensor, " point"]:
    """Interleave the bits of the 10-bit cell coordinates inside the bounding box."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    cells = ((points - low) / (high - low).clamp_min(1e-6) * (2**_BITS - 1)).long()
    code = torch.zeros(len(points), dtype=torch.long)
    for bit in range(_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def height_map(points: Float[Tensor, "point 3"]) -> Float[Tensor, "row column 2"]:
    """Compute the height of the highest point over each cell of the floor (m), and 1 where there is any point, else 0.

    The map reaches 8 m ahead of the camera and 4 m to both sides. No points give the map of an unknown room. Raises
    InputError where a point is not finite.
    """
    _check(points)
    rows, columns = HEIGHT_SHAPE
    row, column = (points[:, 1] / CELL_M).floor().long(), (points[:, 0] / CELL_M).floor().long() + columns // 2
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    cell = (row * columns + column)[inside]
    heights = points[:, 2].clamp(0, TALLEST_M)[inside]
    highest = points.new_zeros(rows * columns).scatter_reduce(0, cell, heights, "amax")
    known = points.new_zeros(rows * columns).index_fill(0, cell, 1.0)
    return torch.stack([highest, known], dim=-1).unflatten(0, HEIGHT_SHAPE)


def height_patches(heights: Float[Tensor, "batch row column 2"]) -> Float[Tensor, "batch token value"]:
    """Cut the map into square patches, row by row."""
    squares = heights.unflatten(1, (-1, HEIGHT_PATCH)).unflatten(3, (-1, HEIGHT_PATCH))
    return squares.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)


def _check(points: Float[Tensor, "point 3"]) -> None:
    if not torch.isfinite(points).all():
        wrong = int((~torch.isfinite(points)).any(dim=1).sum())
        raise InputError(
            f"{wrong} of {len(points)} points of the scene are not finite, expected metres: leave them out"
        )
