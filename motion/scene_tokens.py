"""Object points of a room to groups of 64, one token each (thesis 4.5)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

POINTS_PER_GROUP = 64
_BITS = 10


def group_points(points: Float[Tensor, "point 3"]) -> Float[Tensor, "group 64 3"]:
    """Cut points (metres, Z up) into compact groups of 64 along a Z-order curve.

    The result does not depend on the order of the points; the last group is filled up with its last point.
    """
    if len(points) == 0:
        return points.new_zeros(0, POINTS_PER_GROUP, 3)
    for axis in (2, 1, 0):
        points = points[torch.argsort(points[:, axis], stable=True)]
    ordered = points[torch.argsort(_morton_code(points), stable=True)]
    missing = -len(ordered) % POINTS_PER_GROUP
    return torch.cat([ordered, ordered[-1:].expand(missing, 3)]).unflatten(0, (-1, POINTS_PER_GROUP))


def _morton_code(points: Float[Tensor, "point 3"]) -> Int[Tensor, " point"]:
    """Interleaved bits of the 10-bit cell coordinates inside the bounding box."""
    low, high = points.amin(dim=0), points.amax(dim=0)
    cells = ((points - low) / (high - low).clamp_min(1e-6) * (2**_BITS - 1)).long()
    code = torch.zeros(len(points), dtype=torch.long)
    for bit in range(_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code
