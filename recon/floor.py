"""Floor plane in the camera's frame, and the transform from there to the Z-up world (eq. 4.2 to 4.5, corrected).

OpenCV axes, metres. A plane is `normal · p + offset = 0` with the unit normal towards the camera, so `offset` is the
camera's height. RANSAC (Fischler & Bolles 1981) with the thesis' band of 10 cm finds the floor among outliers; total
least squares, which has no direction that it fits badly, then fits it under Tukey's weights, whose scale is that of the
noise.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import open3d as o3d
from jaxtyping import Float, Float64
from sklearn.linear_model import RANSACRegressor

from motion.errors import InputError
from recon.robust import MAD_TO_SIGMA, TUKEY_SIGMAS, tukey_weights

MIN_POINTS = 50
MIN_INLIER_RATIO = 0.3
LARGEST_LEAN_DEG = 5.0  # against the walls, of a floor in good depth
CAMERA_HEIGHTS_M = (0.3, 6.0)  # plausible heights of a camera above its floor
MIN_WIDTH_M = 0.05  # spread (rms) of the points in their second direction; points on a line define no plane
_UP = np.array([0.0, -1.0, 0.0])  # up in the image
_FORWARD = np.array([0.0, 0.0, 1.0])
_TRIALS = 300
_MOST_POINTS = 2000  # used by RANSAC
_FINEST_SCALE_M = 1e-3  # least scale of the residuals' noise
_VOXEL_M = 0.05
_UPRIGHT_COSINE = np.cos(np.radians(65))  # between a floor's normal and the image's up, for tilts up to 60 degrees
_NOT_UP_SHARE = 0.5  # of a mask, by which a plane that does not face up must have more than one that does
_MOST_BELOW_SHARE = 0.03  # of a room's points that may lie under its floor: reflections, a step, noise
_LEAST_EXTENT_M2 = 0.5  # of floor in view
_BENEATH_M, _PARALLEL_COSINE = 0.15, 0.9  # of surfaces under a plane that are rather the floor
_WALL_SINE = np.sin(np.radians(30))  # of the angle by which walls may be off the vertical of what was found
_WALL_SIGMA, _WALL_SIGMA_AT_FIRST = 0.05, 0.4  # scale of the errors of the walls' normals, in radians
_WALL_PRIOR = 0.01  # weight of no lean, as a share of the walls' points


@dataclass(frozen=True, eq=False)
class Plane:
    """Plane `normal · p + offset = 0` in the camera's frame (metres); the unit normal points towards the camera."""

    normal: Float64[np.ndarray, "3"]
    """Unit normal in the camera's frame, towards the camera."""
    offset: float
    """Distance of the camera from the plane in metres: its height above a floor."""
    inlier_ratio: float
    """Share of the fitted points that lie within the threshold."""

    def distance(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
        """Compute signed distances to the plane in metres; positive on the camera's side."""
        return points @ self.normal + self.offset


def fit_floor(
    points: Float[np.ndarray, "point 3"],
    threshold: float = 0.1,
    seed: int = 0,
    parametrisation: Literal["normal", "thesis"] = "normal",
) -> Plane:
    """Fit the floor plane to the points of a floor mask (camera frame, metres; NaN points are ignored).

    The mask may be too large: planes over which no camera could hang are not considered, and one that does not face up
    must hold half of the points more than one that does, as for a camera that looks straight down. `threshold` is
    RANSAC's band in metres, `seed` draws its samples. The parametrisation "thesis" regresses z on (x, y) as eq. 4.2
    does, which has no answer when the camera looks level. Raises InputError for too few points, points on a line, too
    few inliers, and an implausible camera height.
    """
    points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    if len(points) < MIN_POINTS:
        raise InputError(f"{len(points)} points of the floor are known, expected {MIN_POINTS} or more: check the masks")
    width = np.sqrt(max(np.linalg.eigvalsh(np.cov(points.T))[1], 0.0))
    if width < MIN_WIDTH_M:
        raise InputError(
            f"the floor's points lie within {width:.3f} m of a line, expected {MIN_WIDTH_M} m or more: check the masks"
        )
    fit = _fit_normal if parametrisation == "normal" else _fit_thesis
    return _plausible(_towards_camera(*fit(points, threshold, seed), points, threshold))


def find_floor(
    points: Float[np.ndarray, "*batch 3"], threshold: float = 0.1, seed: int = 0, most_lean: float = LARGEST_LEAN_DEG
) -> Plane:
    """Find the floor of a whole room without a mask, for a camera that is upright up to some tilt.

    The floor is not the largest plane but one that faces up, has next to nothing beneath it and is square, up to
    `most_lean` degrees, to the walls in view: no table, no wall, no sloping bed. `inlier_ratio` counts the points that
    face up. Raises InputError where no floor is in view.
    """
    points = points.reshape(-1, 3)
    every, normals = _thin(points[np.isfinite(points).all(axis=1)])
    facing_up = every[normals @ _UP > _UPRIGHT_COSINE]
    if len(facing_up) < MIN_POINTS:
        raise InputError(
            f"{len(facing_up)} points of the room face up, expected {MIN_POINTS} or more: no floor in view"
        )
    start = _ransac(facing_up, threshold, seed, above=every)
    normal, offset = _refine(facing_up, *start, threshold)
    plane = _towards_camera(normal, offset, facing_up, threshold)
    extent = plane.inlier_ratio * len(facing_up) * _VOXEL_M**2
    distance = plane.distance(every)
    beneath = (distance < -_BENEATH_M) & (normals @ plane.normal > _PARALLEL_COSINE)
    below = np.mean(distance < -threshold) > _MOST_BELOW_SHARE or beneath.sum() > MIN_POINTS
    if extent < _LEAST_EXTENT_M2 or below:
        raise InputError("no floor is in view: nothing that faces up lies below the rest; mark it in the masks")
    lean = _lean(plane.normal, normals)
    if lean > most_lean:
        raise InputError(
            f"no floor is in view: what faces up and lies lowest leans by {lean:.0f}° against the walls, expected at "
            f"most {most_lean:.0f}°; mark the floor in the masks"
        )
    return _plausible(plane, least_ratio=0.0)


def extrinsics(plane: Plane) -> Float64[np.ndarray, "4 4"]:
    """Compute world-to-camera extrinsics: the world's origin on the floor below the camera, y the viewing direction.

    Eq. 4.3 is the cross product's matrix K of the normal and +Z, eq. 4.4 Rodrigues' rotation R made of it, which turns
    the camera's frame into the world's. The result goes the other way, world to camera: its rotation is R transposed,
    up to a turn about Z, written as axes because those have no special case at 180 degrees. Eq. 4.5 maps points from
    the camera to the world, p* = R (p - origin), the inverse of the result; its origin here is the floor below the
    camera, in the thesis the floor's point on the camera's z axis. Looking straight down, the image's up is world y.
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
    """Fit z = b + bx x + by y (eq. 4.2) by RANSAC and least squares."""
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
    """Find the plane through three points with most others near, among those that can be a floor.

    Almost none of `above`, the points of a whole room, may lie beneath it; of the points of a mask, few.
    """
    rng = np.random.default_rng(seed)
    some = _some(points, rng)
    normals, offsets = _random_planes(some, rng)
    near = (np.abs(some @ normals.T + offsets) < threshold).mean(axis=0)
    near -= (offsets < CAMERA_HEIGHTS_M[0]) | (offsets > CAMERA_HEIGHTS_M[1])
    beneath = (_some(points if above is None else above, rng) @ normals.T + offsets < -threshold).mean(axis=0)
    not_up = normals @ _UP < _UPRIGHT_COSINE
    if above is None:
        near -= beneath + _NOT_UP_SHARE * not_up
    else:
        near -= (beneath > _MOST_BELOW_SHARE) | not_up
    best = int(near.argmax())
    return normals[best], float(offsets[best])


def _random_planes(
    points: Float64[np.ndarray, "point 3"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "trial 3"], Float64[np.ndarray, " trial"]]:
    """Draw planes through three of the points: unit normals towards the camera, and offsets.

    Three points on a line give a plane through the camera, with a normal of zero.
    """
    a, b, c = (points[rng.integers(len(points), size=_TRIALS)] for _ in range(3))
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 1e-9)
    offsets = -(normals * a).sum(axis=1)
    side = np.where(offsets < 0, -1.0, 1.0)
    return side[:, None] * normals, side * offsets


def _some(points: Float64[np.ndarray, "point 3"], rng: np.random.Generator) -> Float64[np.ndarray, "some 3"]:
    return points if len(points) <= _MOST_POINTS else points[rng.choice(len(points), _MOST_POINTS, replace=False)]


def _refine(
    points: Float64[np.ndarray, "point 3"], normal: np.ndarray, offset: float, threshold: float
) -> tuple[np.ndarray, float]:
    """Fit total least squares under Tukey's biweight, whose scale (median absolute deviation) shrinks to the noise."""
    for _ in range(20):
        residuals = np.abs(points @ normal + offset)
        inside = residuals < threshold
        if inside.sum() < 3:
            break
        scale = float(np.clip(MAD_TO_SIGMA * np.median(residuals[inside]), _FINEST_SCALE_M, threshold / TUKEY_SIGMAS))
        weights = tukey_weights(residuals, scale)
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
    low, high = CAMERA_HEIGHTS_M
    if not low <= plane.offset <= high:
        raise InputError(
            f"the camera would hang {plane.offset:.2f} m above the floor, expected {low} to {high} m: "
            "check the masks, the depth and the intrinsics"
        )
    return plane


def _lean(normal: np.ndarray, normals: Float64[np.ndarray, "point 3"]) -> float:
    """Compute by how many degrees a plane leans against the walls, which are square to a floor; 0 without walls.

    The tilt that makes `normal` square to the surfaces about as steep as walls, by least squares under Geman and
    McClure's weights, whose scale shrinks so that most walls decide and not those that are square already; a weak prior
    keeps it at 0 in directions of which no wall tells.
    """
    walls = normals[np.abs(normals @ normal) < _WALL_SINE]
    if len(walls) < MIN_POINTS:
        return 0.0
    basis = np.linalg.svd(normal[None])[2][1:]
    across, off, weights = walls @ basis.T, walls @ normal, np.ones(len(walls))
    for sigma in np.geomspace(_WALL_SIGMA_AT_FIRST, _WALL_SIGMA, 10):
        spread = (across * weights[:, None]).T @ across + _WALL_PRIOR * len(walls) * np.eye(2)
        tilt = -np.linalg.solve(spread, across.T @ (weights * off))
        weights = 1 / (1 + ((off + across @ tilt) / sigma) ** 2) ** 2
    return float(np.degrees(np.arctan(np.linalg.norm(tilt))))


def _thin(
    points: Float[np.ndarray, "point 3"],
) -> tuple[Float64[np.ndarray, "thinned 3"], Float64[np.ndarray, "thinned 3"]]:
    """Keep one point per 5 cm voxel, so that far floor counts like near floor, and its normal towards the camera."""
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(np.float64))).voxel_down_sample(_VOXEL_M)
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(30))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    return np.asarray(cloud.points), np.asarray(cloud.normals)
