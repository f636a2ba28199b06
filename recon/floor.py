"""The floor in the camera's frame, and the way from there to the Z-up world (thesis eq. 4.2 to 4.5, mended).

OpenCV axes, metres. A plane is `normal · p + offset = 0` with the unit normal towards the camera, so `offset` is the
camera's height. RANSAC (Fischler & Bolles 1981) with the thesis' band of 10 cm finds the floor among outliers; total
least squares, which knows no bad direction, then fits it under Tukey's weights, whose scale is that of the noise.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import open3d as o3d
from jaxtyping import Float, Float64
from sklearn.linear_model import RANSACRegressor

from motion.errors import InputError

MIN_POINTS = 50
MIN_INLIER_RATIO = 0.3
HEIGHTS = (0.3, 6.0)  # of a camera above its floor
MIN_WIDTH = 0.05  # metres that points must spread (rms) in a second direction: a line tells no plane
_UP = np.array([0.0, -1.0, 0.0])  # of the image
_FORWARD = np.array([0.0, 0.0, 1.0])
_TRIALS = 300
_MOST_POINTS = 2000  # that RANSAC looks at
_TUKEY = 4.685  # 95 % efficiency under normal noise
_FINEST = 1e-3  # scale below which residuals are not told apart
_VOXEL = 0.05
_UPRIGHT = np.cos(np.radians(65))  # a floor's normal and the image's up, for tilts up to 60 degrees
_MOST_BELOW = 0.03  # share of a room's points that may lie under its floor: reflections, a step, noise
_LEAST_EXTENT = 0.5  # m² of floor in view


@dataclass(frozen=True, eq=False)
class Plane:
    normal: Float64[np.ndarray, "3"]
    offset: float
    inlier_ratio: float
    """Share of the points it was fitted to that lie within the threshold."""

    def distance(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
        """Signed, metres; positive on the camera's side."""
        return points @ self.normal + self.offset


def fit_floor(
    points: Float[np.ndarray, "point 3"],
    threshold: float = 0.1,
    seed: int = 0,
    parametrisation: Literal["normal", "thesis"] = "normal",
) -> Plane:
    """The floor through the points of a floor mask; `seed` is RANSAC's.

    "thesis" regresses z on (x, y) as eq. 4.2 does, which has no answer when the camera looks level.
    """
    points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    if len(points) < MIN_POINTS:
        raise InputError(f"{len(points)} points of the floor are known, expected {MIN_POINTS} or more: check the masks")
    width = np.sqrt(max(np.linalg.eigvalsh(np.cov(points.T))[1], 0.0))
    if width < MIN_WIDTH:
        raise InputError(
            f"the floor's points lie within {width:.3f} m of a line, expected {MIN_WIDTH} m or more: check the masks"
        )
    fit = _fit_normal if parametrisation == "normal" else _fit_thesis
    return _plausible(_towards_camera(*fit(points, threshold, seed), points, threshold))


def find_floor(points: Float[np.ndarray, "*batch 3"], threshold: float = 0.1, seed: int = 0) -> Plane:
    """The floor of a whole room without a mask, for a camera that is upright up to some tilt.

    Not the largest plane: one that faces up and has next to nothing beneath, so neither a table nor a wall.
    `inlier_ratio` counts the points that face up.
    """
    points = points.reshape(-1, 3)
    every, normals = _thin(points[np.isfinite(points).all(axis=1)])
    facing_up = every[normals @ _UP > _UPRIGHT]
    if len(facing_up) < MIN_POINTS:
        raise InputError(
            f"{len(facing_up)} points of the room face up, expected {MIN_POINTS} or more: no floor in view"
        )
    start = _ransac(facing_up, threshold, seed, above=every)
    normal, offset = _refine(facing_up, *start, threshold)
    plane = _towards_camera(normal, offset, facing_up, threshold)
    extent = plane.inlier_ratio * len(facing_up) * _VOXEL**2
    if extent < _LEAST_EXTENT or np.mean(plane.distance(every) < -threshold) > _MOST_BELOW:
        raise InputError("no floor is in view: nothing that faces up lies below the rest; mark it in the masks")
    return _plausible(plane, least_ratio=0.0)


def extrinsics(plane: Plane) -> Float64[np.ndarray, "4 4"]:
    """World to camera: the origin on the floor below the camera, world y the viewing direction laid on the floor.

    Rodrigues' rotation of the normal to +Z (eq. 4.3, 4.4) up to a turn about Z, written as axes because those have
    no special case at 180 degrees. Looking straight down, the image's up is world y.
    """
    ahead = _FORWARD - (_FORWARD @ plane.normal) * plane.normal
    if np.linalg.norm(ahead) < 1e-6:
        ahead = _UP - (_UP @ plane.normal) * plane.normal
    y = ahead / np.linalg.norm(ahead)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([np.cross(y, plane.normal), y, plane.normal], axis=1)
    matrix[:3, 3] = -plane.offset * plane.normal
    return matrix


def _fit_normal(points: Float64[np.ndarray, "point 3"], threshold: float, seed: int) -> tuple[np.ndarray, float]:
    return _refine(points, *_ransac(points, threshold, seed), threshold)


def _fit_thesis(points: Float64[np.ndarray, "point 3"], threshold: float, seed: int) -> tuple[np.ndarray, float]:
    """Eq. 4.2, z = b + bx x + by y, by RANSAC and least squares."""
    regression = RANSACRegressor(residual_threshold=threshold, random_state=seed).fit(points[:, :2], points[:, 2])
    normal = np.append(regression.estimator_.coef_, -1.0)
    length = np.linalg.norm(normal)
    return normal / length, float(regression.estimator_.intercept_ / length)


def _ransac(
    points: Float64[np.ndarray, "point 3"],
    threshold: float,
    seed: int,
    above: Float64[np.ndarray, "other 3"] | None = None,
) -> tuple[np.ndarray, float]:
    """The plane through three of the points with most others near; almost all of `above` must not be beneath it."""
    rng = np.random.default_rng(seed)
    some = _some(points, rng)
    a, b, c = (some[rng.integers(len(some), size=_TRIALS)] for _ in range(3))
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 1e-9)
    offsets = -(normals * a).sum(axis=1)
    near = (np.abs(some @ normals.T + offsets) < threshold).mean(axis=0)
    near[lengths[:, 0] <= 1e-9] = -1.0
    if above is not None:
        side = np.where(offsets < 0, -1.0, 1.0)
        beneath = (_some(above, rng) @ (normals * side[:, None]).T + offsets * side < -threshold).mean(axis=0)
        near -= (beneath > _MOST_BELOW) | (normals @ _UP * side < _UPRIGHT)
    best = int(near.argmax())
    return normals[best], float(offsets[best])


def _some(points: Float64[np.ndarray, "point 3"], rng: np.random.Generator) -> Float64[np.ndarray, "some 3"]:
    return points if len(points) <= _MOST_POINTS else points[rng.choice(len(points), _MOST_POINTS, replace=False)]


def _refine(
    points: Float64[np.ndarray, "point 3"], normal: np.ndarray, offset: float, threshold: float
) -> tuple[np.ndarray, float]:
    """Total least squares under Tukey's biweight of a scale (median absolute deviation) that shrinks to the noise."""
    for _ in range(20):
        residuals = np.abs(points @ normal + offset)
        inside = residuals < threshold
        if inside.sum() < 3:
            break
        scale = np.clip(1.4826 * np.median(residuals[inside]), _FINEST, threshold / _TUKEY)
        weights = np.square(1 - np.square(np.minimum(residuals / (_TUKEY * scale), 1)))
        center = np.average(points, axis=0, weights=weights)
        spread = (points - center).T @ ((points - center) * weights[:, None])
        normal = np.linalg.eigh(spread)[1][:, 0]
        offset = float(-normal @ center)
    return normal, offset


def _towards_camera(
    normal: np.ndarray, offset: float, points: Float64[np.ndarray, "point 3"], threshold: float
) -> Plane:
    side = -1.0 if offset < 0 else 1.0
    inlier_ratio = float(np.mean(np.abs(points @ normal + offset) < threshold))
    return Plane(side * normal, side * offset, inlier_ratio)


def _plausible(plane: Plane, least_ratio: float = MIN_INLIER_RATIO) -> Plane:
    if plane.inlier_ratio < least_ratio:
        raise InputError(
            f"{plane.inlier_ratio:.0%} of the floor's points lie in one plane, expected {least_ratio:.0%} or more: "
            "check the masks and the depth"
        )
    if not HEIGHTS[0] <= plane.offset <= HEIGHTS[1]:
        raise InputError(
            f"the camera would hang {plane.offset:.2f} m above the floor, expected {HEIGHTS[0]} to {HEIGHTS[1]} m: "
            "check the masks, the depth and the intrinsics"
        )
    return plane


def _thin(
    points: Float[np.ndarray, "point 3"],
) -> tuple[Float64[np.ndarray, "thinned 3"], Float64[np.ndarray, "thinned 3"]]:
    """One point per 5 cm voxel, so that far floor counts like near floor, and its normal towards the camera."""
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(np.float64))).voxel_down_sample(_VOXEL)
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(30))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    return np.asarray(cloud.points), np.asarray(cloud.normals)
