"""Focal length of a room's camera by the edges of its picture, put together with what its persons tell.

Lines along three directions at right angles meet in three vanishing points, whose places tell the focal length where
the camera looks along none of them (Caprile and Torre 1990). It is a fourth unknown beside tilt, roll and yaw in the
likelihood of `recon.calibration.attitude`. Depth shows where the horizon is: the tangent of the tilt times the focal
length.

Pixels are square, the principal point is the image's centre, lenses do not distort.
"""

import math
from dataclasses import replace
from itertools import product

import numpy as np
from jaxtyping import Float64

from recon.calibration.attitude import AT_FIRST, STARTS, Attitude, Edges, curvature, descend, grid, log_likelihood
from recon.calibration.focal_length import LARGEST_ERROR, Calibration
from recon.camera import intrinsics_matrix

INDEPENDENT = 15  # measurements that the edges are worth here, where lines that are not square to each other tell, too
LONGER = (-0.5, -0.25, 0.0, 0.25, 0.5)  # logarithms of focal lengths to start from, by the one that is believed
LONGEST = 0.9  # logarithm, either way
BY_CHANCE = math.log(2 / math.pi)  # log likelihood of edges under angles of one density; pictures of no room have less


def focal_by_edges(edges: Edges, before: Attitude, calibration: Calibration) -> Calibration:
    """Correct the focal length by the edges of the picture; returns `calibration` where they tell too little.

    So they do outdoors, where angles of one density would explain them better than three directions do.

    `edges` and `before`, what depth tells of tilt and roll, are by the focal length of `calibration`.
    """
    if not len(edges.place):
        return calibration
    tilt_before, roll_before = before.mean

    def cost(parameters: Float64[np.ndarray, "4"], seen: Edges) -> float:
        tilt, roll, _, longer = parameters
        if abs(longer) > LONGEST:
            return math.inf
        horizon = (math.tan(tilt) * math.exp(longer) - math.tan(tilt_before)) * math.cos(tilt_before) ** 2
        off = np.array([horizon, roll - roll_before]) / before.spread
        known = (np.square(off).sum() + (longer / calibration.relative_error) ** 2) / 2
        return known - INDEPENDENT * _likelihood(parameters, seen)

    every = -(-len(edges.place) // AT_FIRST)
    few = Edges(edges.place[::every], edges.across[::every])
    each = [
        np.array([math.atan(math.tan(tilt) * math.exp(-longer)), roll, yaw, longer])
        for (tilt, roll, yaw), longer in product(grid(before), LONGER)
    ]
    starts = sorted(each, key=lambda start: cost(start, few))[:STARTS]
    rough = min((descend(cost, start, few) for start in starts), key=lambda found: cost(found, few))
    best = descend(cost, rough, edges)
    variance = np.linalg.pinv(curvature(lambda parameters: cost(parameters, edges), best))[3, 3]
    error = min(math.sqrt(variance), calibration.relative_error) if variance > 0 else calibration.relative_error
    if error > LARGEST_ERROR or _likelihood(best, edges) < BY_CHANCE:
        return calibration
    center = calibration.intrinsics[:2, 2].tolist()
    focal = calibration.intrinsics[0, 0].item() * math.exp(best[3])
    return replace(calibration, intrinsics=intrinsics_matrix(focal, focal, *center), relative_error=error, edges=True)


def _likelihood(parameters: Float64[np.ndarray, "4"], edges: Edges) -> float:
    """Compute the mean log likelihood of edges by tilt, roll, yaw and the focal length's logarithm."""
    return log_likelihood(parameters[:3], Edges(edges.place * math.exp(-parameters[3]), edges.across))
