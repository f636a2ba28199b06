"""Tilt and roll of a room's camera, from depth and from the edges of its picture (Coughlan and Yuille 1999).

Most edges of a room are images of lines along three directions at right angles, one of them upright: corners of walls,
frames of doors, furniture along the walls. A line through a pixel points at its direction's vanishing point, so the
orientation of the picture's gradient at an edge tells of the camera's rotation, however far away the edge is. The
rotation is the posterior maximum over the strongest edges: each is an image of one of the three directions with a
normal error of its angle, or of something else with any angle.

Pixels are square, lenses do not distort.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Float64, UInt8
from scipy.ndimage import binary_dilation, gaussian_filter, sobel
from scipy.optimize import minimize
from torch import Tensor

from recon.calibration.focal_length import ROLL_SPREAD_RAD, TILTS_RAD
from recon.camera import looking_down

LEAST_ERROR_RAD = 0.0005  # of a floor that depth shows
MOST_EDGES, AT_FIRST = 6000, 1500  # pixels; for the grid of starting values
SMOOTHING_PX, BORDER_PX = 1.5, 8  # the border is as far as smoothing and gradient reach
WEAKEST = 1.0  # grey levels a pixel, of an edge
ANGLE_ERROR_RAD = math.radians(2.5)  # standard deviation of an edge's angle
HORIZONTAL, UPRIGHT, OTHER = 0.2, 0.35, 0.25  # shares of edges along either horizontal, upright, along none
INDEPENDENT = 150  # measurements that the edges are worth, as neighbours err alike
STEP_RAD, YAW_STEP_RAD = math.radians(2.5), math.radians(4)  # of the grid
GRID_SIGMAS, STARTS = 2.5, 8


@dataclass(frozen=True, eq=False)
class Attitude:
    """Tilt and roll of a camera above the floor, as a normal distribution."""

    mean: Float64[np.ndarray, "2"]
    """Tilt down and roll in radians, as `recon.camera.looking_down` takes them."""
    spread: Float64[np.ndarray, "2"]
    """Standard deviations in radians."""

    @property
    def normal(self) -> Float64[np.ndarray, "3"]:
        """Unit normal of the floor in the camera's frame, towards the camera."""
        return looking_down(*self.mean)[:, 2]

    def with_unsure_focal_length(self, relative_error: float) -> "Attitude":
        """Add what a focal length of this standard deviation makes uncertain.

        A picture shows the horizon's height, which is the tangent of the tilt times the focal length.
        """
        by_focal = relative_error * math.sin(self.mean[0]) * math.cos(self.mean[0])
        return replace(self, spread=np.hypot(self.spread, [by_focal, 0.0]))


@dataclass(frozen=True, eq=False)
class Edges:
    """Strong edges of a picture, on the plane at depth 1 before the camera (x right, y down)."""

    place: Float64[np.ndarray, "edge 2"]
    """Position of each edge pixel."""
    across: Float64[np.ndarray, "edge 2"]
    """Unit vector along the gradient, across the edge."""


def attitude_by_depth(normal: Float64[np.ndarray, "3"], relative_error: float) -> Attitude:
    """Tell the attitude by a floor's normal in the camera's frame, put together with cameras hanging level.

    `relative_error` is the standard deviation of the depth that shows the floor, relative to the depth; a floor tilts
    by as much in radians, where near and far err apart.
    """
    tilt, roll = np.arcsin(-normal[2]), np.arctan2(-normal[0], -normal[1])
    error = max(relative_error, LEAST_ERROR_RAD)
    seen, level = error**-2, ROLL_SPREAD_RAD**-2
    return Attitude(np.array([tilt, roll * seen / (seen + level)]), np.array([error, (seen + level) ** -0.5]))


def strongest_edges(
    image: UInt8[np.ndarray, "height width 3"],
    hidden: Bool[np.ndarray, "height width"],
    intrinsics: Float[Tensor, "3 3"],
) -> Edges:
    """Find the strongest edges of a picture, thinned to their ridges; `hidden` is True where they do not count."""
    grey = gaussian_filter(image.astype(np.float64).mean(axis=-1), SMOOTHING_PX)
    down, right = sobel(grey, axis=0) / 8, sobel(grey, axis=1) / 8
    near_hidden = binary_dilation(hidden, iterations=BORDER_PX, border_value=1)
    strength = np.where(near_hidden, 0.0, np.hypot(right, down))
    row, column = np.nonzero(strength > WEAKEST)
    size = strength[row, column]
    across = np.stack([right[row, column], down[row, column]], axis=1) / size[:, None]
    x, y = np.rint(across).astype(int).T
    ridge = (size >= strength[row + y, column + x]) & (size >= strength[row - y, column - x])
    best = np.argsort(-size[ridge], kind="stable")[:MOST_EDGES]
    pixels = np.stack([column, row], axis=1)[ridge][best]
    focal, center = intrinsics[0, 0].item(), intrinsics[:2, 2].double().numpy()
    return Edges((pixels - center) / focal, across[ridge][best])


def attitude_by_edges(edges: Edges, before: Attitude) -> Attitude:
    """Correct what is believed of the camera's attitude by the edges of the picture; returns `before` without edges."""
    if not len(edges.place):
        return before

    def cost(parameters: Float64[np.ndarray, "3"], seen: Edges) -> float:
        known = np.square((parameters[:2] - before.mean) / before.spread).sum() / 2
        return float(known - INDEPENDENT * log_likelihood(parameters, seen))

    every = -(-len(edges.place) // AT_FIRST)
    few = Edges(edges.place[::every], edges.across[::every])
    starts = sorted(grid(before), key=lambda start: cost(start, few))[:STARTS]
    rough = min((descend(cost, start, few) for start in starts), key=lambda found: cost(found, few))
    best = descend(cost, rough, edges)
    covariance = np.linalg.pinv(curvature(lambda parameters: cost(parameters, edges), best))
    spread = np.sqrt(covariance.diagonal()[:2].clip(0))
    return Attitude(best[:2], np.where(spread > 0, np.minimum(spread, before.spread), before.spread))


def descend(
    cost: Callable[[Float64[np.ndarray, " parameter"], Edges], float],
    start: Float64[np.ndarray, " parameter"],
    edges: Edges,
) -> Float64[np.ndarray, " parameter"]:
    """Find the nearest minimum; the cost has no derivative worth having, and few variables."""
    count = len(start)
    simplex = start + STEP_RAD / 2 * np.concatenate([np.zeros((1, count)), np.eye(count)])
    options = {"xatol": 1e-4, "fatol": 1e-3, "maxiter": 50 * count, "initial_simplex": simplex}
    return np.asarray(minimize(cost, start, (edges,), "Nelder-Mead", options=options).x)


def grid(before: Attitude) -> list[Float64[np.ndarray, "3"]]:
    """List tilts, rolls and yaws near what is believed."""
    (tilt, roll), (tilts, rolls) = before.mean, GRID_SIGMAS * before.spread
    low, high = min(max(tilt - tilts, TILTS_RAD[0]), tilt), max(min(tilt + tilts, TILTS_RAD[1]), tilt)
    return [
        np.array(each)
        for each in product(
            np.arange(low, high + STEP_RAD, STEP_RAD),
            np.arange(roll - rolls, roll + rolls + STEP_RAD, STEP_RAD),
            np.arange(0, math.pi / 2, YAW_STEP_RAD),
        )
    ]


def log_likelihood(parameters: Float64[np.ndarray, "3"], edges: Edges) -> float:
    """Compute the mean log likelihood of the edges' angles, by tilt, roll and yaw of the room's directions."""
    tilt, roll, yaw = parameters
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    directions = (looking_down(tilt, roll) @ turn).T
    likelihood = np.full(len(edges.place), OTHER / (math.pi / 2))
    density = 2 / (ANGLE_ERROR_RAD * math.sqrt(2 * math.pi))
    for share, direction in zip((HORIZONTAL, HORIZONTAL, UPRIGHT), directions, strict=True):
        along = direction[:2] - edges.place * direction[2]
        sine = np.abs((along * edges.across).sum(axis=1)) / np.linalg.norm(along, axis=1).clip(1e-9)
        likelihood += share * density * np.exp(-np.square(np.arcsin(sine.clip(0, 1)) / ANGLE_ERROR_RAD) / 2)
    return float(np.log(likelihood).mean())


def curvature(
    cost: Callable[[Float64[np.ndarray, " parameter"]], float],
    at: Float64[np.ndarray, " parameter"],
    step: float = math.radians(0.5),
) -> Float64[np.ndarray, "parameter parameter"]:
    """Compute second derivatives by differences."""
    steps = step * np.eye(len(at))
    found = [[cost(at + a + b) - cost(at + a - b) - cost(at - a + b) + cost(at - a - b) for b in steps] for a in steps]
    return np.array(found) / (4 * step**2)
