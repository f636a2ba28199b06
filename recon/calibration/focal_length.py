"""Focal length of a room's camera, estimated from persons who stand or walk on its floor.

Upright persons have ankles, hips, shoulders and head above one point of the floor, at heights that vary little between
persons. The focal length, tilt, roll and height of the camera and everyone's stature are those that put these four
levels where they are annotated: the posterior maximum over all frames (compare Lv, Zhao and Nevatia 2006). Where each
person stands and which way they lean are linear and solved in closed form.

Pixels are square, the principal point is the image's centre, lenses do not distort.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy.optimize import least_squares
from torch import Tensor

from motion.body import load_body
from motion.skeleton import ACTIONS
from recon.camera import intrinsics_matrix, looking_down
from recon.keypoints import body_keypoints
from recon.teton import TetonSequence, Track

# Keypoints whose mean lies above an upright person's ankles, from floor to head, the best first.
LEVELS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("left_ankle", "right_ankle"),),
    (("left_hip", "right_hip"), ("mid_hip",), ("pelvis",)),
    (("left_shoulder", "right_shoulder"), ("neck",)),
    (("left_ear", "right_ear"), ("head",), ("left_eye", "right_eye"), ("nose",)),
)
UPRIGHT = tuple(ACTIONS.index(name) for name in ("unknown", "standing_on_floor", "walking_with_walking_aid"))
SURE_SCORE = 0.5  # from which a keypoint counts
MOST_SAMPLES = 200  # person-frames used, spread over all
FEWEST_SAMPLES = 8
MOST_AT_FIRST, STARTS, ROUNDS = 60, 4, 4
INDEPENDENT_PER_S = 1.0  # samples of one walker that count as independent

DEFAULT_FIELD_OF_VIEW_DEG = 70.0  # horizontal; used where persons do not determine the focal length
FIELDS_OF_VIEW_DEG = (35.0, 120.0)  # horizontal, bounds of the fit
TILTS_RAD = (math.radians(-10), math.radians(75))
HEIGHTS_M = (1.0, 4.0)  # of the camera above the floor, bounds of the fit
FOCAL_SPREAD = 0.4  # standard deviation of the focal length's logarithm: 50 to 92 degrees
HEIGHT_M, HEIGHT_SPREAD_M = 2.4, 0.3  # prior of the camera's height: cameras hang below the ceiling
ROLL_SPREAD_RAD = math.radians(2)
STATURE_SPREAD = 0.06  # standard deviation of the logarithm of stature, as of the default body's shapes
LEAN_SPREAD = 0.08  # standard deviation of the lean, metres per metre of height
NEAREST_M = 0.3  # depth from the camera, at least
ERROR_PX, BODY_ERROR_M = 3.0, 0.05  # standard deviations: of the annotation, and of a level's height against the model
OUTLIER_SIGMAS = 2.5  # error at which a person-frame counts a quarter
LARGEST_ERROR = 0.25  # relative error of the focal length; beyond it the default is as good

# Focal length (logarithm, by the usual one), tilt, roll (radians) and height of the camera, logarithm of each stature.
Parameters = Float64[np.ndarray, " parameter"]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pinhole intrinsics in pixels, and how certain they are."""

    intrinsics: Float[Tensor, "3 3"]
    """Pinhole matrix in pixels."""
    relative_error: float
    """Standard error of the focal length, relative to the focal length."""
    samples: int
    """Number of upright persons in frames used; 0 where they do not suffice and DEFAULT_FIELD_OF_VIEW_DEG is taken."""
    edges: bool = False
    """True where the edges of the picture were used."""


@dataclass(frozen=True, eq=False)
class _Samples:
    """Upright persons in frames; pixels are relative to the image's centre."""

    pixels: Float64[np.ndarray, "sample 4 2"]
    seen: Bool[np.ndarray, "sample 4"]
    heights: Float64[np.ndarray, "sample 4"]
    """Height of each level above the floor for a person of mean shape (metres)."""
    person: Int64[np.ndarray, " sample"]
    usual: float
    """Focal length (pixels) at DEFAULT_FIELD_OF_VIEW_DEG, to which the first parameter is relative."""
    seconds: float
    """Total time that persons stand upright, from which the samples are taken."""

    def thinned(self, count: int) -> "_Samples":
        """Keep `count` samples, evenly spread over all."""
        rows = np.linspace(0, len(self.person) - 1, min(len(self.person), count)).astype(int)
        arrays = {name: getattr(self, name)[rows] for name in ("pixels", "seen", "heights", "person")}
        return replace(self, **arrays)

    @property
    def share(self) -> float:
        """Share of the samples that counts as independent."""
        return min(1.0, INDEPENDENT_PER_S * self.seconds / len(self.person))

    @cached_property
    def sigma(self) -> Float64[np.ndarray, " sample"]:
        """Expected error of a level in pixels, by the size of the person in the image."""
        rows, low, high = np.arange(len(self.person)), self.seen.argmax(axis=1), 3 - self.seen[:, ::-1].argmax(axis=1)
        pixels = np.linalg.norm(self.pixels[rows, high] - self.pixels[rows, low], axis=-1)
        metres = self.heights[rows, high] - self.heights[rows, low]
        return np.hypot(ERROR_PX, BODY_ERROR_M * pixels / metres)


def estimate_intrinsics(sequence: TetonSequence) -> Calibration:
    """Estimate the focal length from the persons of `sequence`.

    Returns DEFAULT_FIELD_OF_VIEW_DEG with 0 samples where too few persons stand upright or the estimate is too
    uncertain.
    """
    width, height = sequence.image_size
    center = ((width - 1) / 2, (height - 1) / 2)
    usual = width / 2 / math.tan(math.radians(DEFAULT_FIELD_OF_VIEW_DEG) / 2)
    samples = _upright_people(sequence, np.array(center), usual)
    if len(samples.person) >= FEWEST_SAMPLES:
        focal, error, count = _fit(samples)
        if count >= FEWEST_SAMPLES and error <= LARGEST_ERROR:
            return Calibration(intrinsics_matrix(focal, focal, *center), error, count)
    return Calibration(intrinsics_matrix(usual, usual, *center), FOCAL_SPREAD, 0)


def _upright_people(sequence: TetonSequence, center: Float64[np.ndarray, "2"], usual: float) -> _Samples:
    """Collect persons in frames whose action allows standing and that show three of the levels."""
    levels = [_levels(track, sequence.keypoint_names) for track in sequence.tracks]
    pixels, heights = (np.concatenate([level[i] for level in levels]) for i in (0, 1))
    action = np.concatenate([track.action for track in sequence.tracks])
    person = np.repeat(np.arange(len(levels)), sequence.num_frames)
    seen = np.isfinite(pixels[..., 0])
    usable = np.isin(action, UPRIGHT) & (seen.sum(axis=1) >= 3)
    samples = _Samples(
        np.nan_to_num(pixels - center)[usable],
        seen[usable],
        heights[usable],
        person[usable],
        usual,
        seconds=usable.sum() / sequence.fps,
    )
    return samples.thinned(MOST_SAMPLES)


def _levels(
    track: Track, names: tuple[str, ...]
) -> tuple[Float64[np.ndarray, "frame 4 2"], Float64[np.ndarray, "frame 4"]]:
    """Compute the four levels' pixels, NaN where not annotated, and their heights in metres."""
    pixels = np.full((len(track.present), len(LEVELS), 2), np.nan)
    heights = np.ones((len(track.present), len(LEVELS)))
    for level, choices in enumerate(LEVELS):
        for choice in reversed([choice for choice in choices if set(choice) <= set(names)]):
            found = track.keypoints[:, [names.index(name) for name in choice]].astype(np.float64)
            sure = (found[..., 2] >= SURE_SCORE).all(axis=1)
            pixels[sure, level] = found[sure, :, :2].mean(axis=1)
            heights[sure, level] = _rest_height(choice)
    return pixels, heights


@lru_cache
def _rest_height(names: tuple[str, ...]) -> float:
    """Compute the mean height of these keypoints of the default body above its soles (metres)."""
    body = load_body("default")
    betas = torch.zeros(10)
    unturned = torch.eye(3).expand(24, 3, 3)
    up = body_keypoints(body, names).positions(body.rest_joints(betas), unturned, betas)[:, 1]
    return float(up.mean() - body.v_template[:, 1].min())


def _fit(samples: _Samples) -> tuple[float, float, int]:
    """Fit the focal length; return it in pixels, its relative standard error and the number of samples that agree."""
    few = samples.thinned(MOST_AT_FIRST)
    starts = sorted(_grid(samples), key=lambda start: _cost(start, few))[:STARTS]
    best = min((_refine(start, few)[0] for start in starts), key=lambda fitted: _cost(fitted, few))
    best, covariance = _refine(best, samples)
    agree = _mean_squares(_residuals(best, samples)[0], samples) < OUTLIER_SIGMAS**2
    return float(samples.usual * np.exp(best[0])), float(np.sqrt(covariance[0, 0])), int(agree.sum())


def _grid(samples: _Samples) -> list[Parameters]:
    """List starting values over fields of view, tilts and camera heights, with persons of mean stature."""
    statures = [0.0] * (int(samples.person.max()) + 1)
    return [
        np.array([_log_focal(view), math.radians(tilt), 0.0, height, *statures])
        for view in np.arange(40.0, 120.0, 10.0)
        for tilt in range(0, 80, 10)
        for height in (2.0, 2.6)
    ]


def _refine(start: Parameters, samples: _Samples) -> tuple[Parameters, Float64[np.ndarray, "parameter parameter"]]:
    """Refine parameters by iteratively reweighted least squares; return them and their covariance."""
    best, bounds = start, _bounds(len(start))
    for _ in range(ROUNDS):
        weight = _trust(_mean_squares(_residuals(best, samples)[0], samples))
        fitted = least_squares(_posterior, best, args=(samples, weight), bounds=bounds, x_scale="jac", max_nfev=10)
        best = fitted.x
    return best, np.linalg.pinv(fitted.jac.T @ fitted.jac)


def _cost(parameters: Parameters, samples: _Samples) -> float:
    """Compute twice the negative log posterior; an outlier costs at most OUTLIER_SIGMAS² (Geman and McClure)."""
    residuals, volume = _residuals(parameters, samples)
    errors = _mean_squares(residuals, samples)
    bounded = samples.seen.sum(axis=1) * errors / (1 + errors / OUTLIER_SIGMAS**2)
    return float(samples.share * (bounded + volume).sum() + (_prior(parameters) ** 2).sum())


def _trust(errors: Float64[np.ndarray, " sample"]) -> Float64[np.ndarray, " sample"]:
    """Compute the weights of that bounded loss from mean squared errors in standard deviations."""
    return 1 / (1 + errors / OUTLIER_SIGMAS**2) ** 2


def _mean_squares(residuals: Float64[np.ndarray, "sample 5 2"], samples: _Samples) -> Float64[np.ndarray, " sample"]:
    return (residuals**2).sum(axis=(1, 2)) / samples.seen.sum(axis=1)


def _bounds(count: int) -> tuple[Parameters, Parameters]:
    """Bound the camera's parameters; else a long lens looking almost straight down explains anyone as leaning."""
    views = [_log_focal(view) for view in FIELDS_OF_VIEW_DEG]
    low, high = np.full(count, -np.inf), np.full(count, np.inf)
    low[:4], high[:4] = (
        (min(views), TILTS_RAD[0], -np.pi / 8, HEIGHTS_M[0]),
        (max(views), TILTS_RAD[1], np.pi / 8, HEIGHTS_M[1]),
    )
    return low, high


def _log_focal(field_of_view: float) -> float:
    """Compute the logarithm of the focal length at a horizontal field of view (degrees), relative to the usual one."""
    half, usual = (math.radians(view / 2) for view in (field_of_view, DEFAULT_FIELD_OF_VIEW_DEG))
    return math.log(math.tan(usual) / math.tan(half))


def _prior(parameters: Parameters) -> Float64[np.ndarray, " prior"]:
    focal, _, roll, height, *statures = parameters
    shapes = np.array(statures) / STATURE_SPREAD
    return np.array([focal / FOCAL_SPREAD, roll / ROLL_SPREAD_RAD, (height - HEIGHT_M) / HEIGHT_SPREAD_M, *shapes])


def _posterior(
    parameters: Parameters, samples: _Samples, weight: Float64[np.ndarray, " sample"]
) -> Float64[np.ndarray, " residual"]:
    residuals, volume = _residuals(parameters, samples)
    counted = np.sqrt(samples.share * weight)
    scaled = counted[:, None, None] * residuals
    return np.concatenate([scaled.ravel(), counted * np.sqrt(volume), _prior(parameters)])


def _residuals(
    parameters: Parameters, samples: _Samples
) -> tuple[Float64[np.ndarray, "sample 5 2"], Float64[np.ndarray, " sample"]]:
    """Compute standardised errors of the four levels and of the lean, with each person at the best place on the floor.

    Also returns the logarithm of the volume of images that leaning makes. A level at height z lies at (x + a z, y + b
    z, z), which a pixel's ray meets in two equations that are linear in x, y, a and b. Without the volume the best
    camera would look straight down, where leaning explains everything.
    """
    focal, tilt, roll, camera_height, *statures = parameters
    focal = samples.usual * np.exp(focal)
    rotation = looking_down(tilt, roll)
    heights = samples.heights * np.exp(np.array(statures))[samples.person, None]
    across = rotation[:2] - samples.pixels[..., None] / focal * rotation[2]  # sample, level, row, world axis
    unscaled = np.concatenate([across[..., :2], across[..., :2] * heights[..., None, None]], axis=-1)
    wanted = -across[..., 2] * (heights - camera_height)[..., None]
    prior = np.diag([1e-9, 1e-9, LEAN_SPREAD**-2, LEAN_SPREAD**-2])
    depth, pixel = np.ones_like(heights), samples.seen * focal / samples.sigma[:, None]
    for _ in range(3):  # the weights depend on the depths
        scale = (pixel / depth)[..., None]
        design = unscaled * scale[..., None]
        normal = np.einsum("nkri,nkrj->nij", design, design) + prior
        place = np.linalg.solve(normal, np.einsum("nkri,nkr->ni", design, wanted * scale)[..., None])[..., 0]
        ground = place[:, None, :2] + place[:, None, 2:] * heights[..., None]
        depth = (ground @ rotation[2, :2] + (heights - camera_height) * rotation[2, 2]).clip(NEAREST_M)
    errors = np.einsum("nkri,ni->nkr", design, place) - wanted * scale
    leaning = np.eye(2) + LEAN_SPREAD**2 * np.einsum("nkri,nkrj->nij", design[..., 2:], design[..., 2:])
    return np.concatenate([errors, place[:, None, 2:] / LEAN_SPREAD], axis=1), np.linalg.slogdet(leaning)[1].clip(0)
