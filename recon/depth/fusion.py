"""Fusion of relative and metric depth (thesis §4.1), and of a fixed camera's key frames into one empty room.

A relative network gives sharp disparity (larger = nearer) up to scale and shift, a metric one coarse metres: `alpha d +
beta = 1 / m` is fitted over all key frames of a sequence together. Depth is along the optical axis, in metres; NaN
means unknown.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from scipy.ndimage import binary_dilation

from motion.errors import InputError
from recon.robust import MAD_TO_SIGMA, tukey_weights

FARTHEST_M = 50.0
"""Largest known depth in metres; farther, or behind infinity (`alpha d + beta <= 0`), depth is unknown (NaN)."""
COMMON_ERROR_FACTOR = 3.0
"""Factor on the disagreement of two depth networks, in which errors that they share (such as of scale) do not show."""
_NARROW = 0.06  # relative spread of a floor's inverse depths, at which it tells as much of the line's slope as networks
_MIN_PIXELS = 100
_MOST_PIXELS = 200_000  # used by the fit
_PAIRS = 500


@dataclass(frozen=True)
class DepthFusion:
    """Fitted line from disparity to inverse depth, `alpha d + beta = 1 / m`, and how well it fits."""

    alpha: float
    """Slope: inverse metres per unit of disparity."""
    beta: float
    """Inverse depth at disparity 0, inverse metres."""
    inlier_ratio: float
    """Share of the pixels whose metric depth lies within 10 % of the fused depth."""
    relative_error: float
    """Standard deviation of the metric depth about the fused one, relative to the depth; estimated by the median."""

    @property
    def depth_scale(self) -> float:
        """Metres per inverse disparity, 1 / alpha: the scale that a relative depth map lacks."""
        return 1 / self.alpha

    @property
    def error(self) -> float:
        """Standard deviation of the fused depth, relative to the depth, as far as two networks can tell."""
        return COMMON_ERROR_FACTOR * self.relative_error

    def depth(self, disparity: Float[np.ndarray, "*batch height width"]) -> Float32[np.ndarray, "*batch height width"]:
        """Convert disparity to depth in metres; NaN where it is unknown or beyond FARTHEST_M."""
        inverse = self.alpha * disparity.astype(np.float64) + self.beta
        known = (inverse > 1 / FARTHEST_M) & np.isfinite(inverse)
        return (1 / np.where(known, inverse, np.nan)).astype(np.float32)


def fuse(
    disparity: Float[np.ndarray, "keyframe height width"],
    metric: Float[np.ndarray, "keyframe low_height low_width"],
    robust: bool = True,
    mask: Bool[np.ndarray, "keyframe height width"] | None = None,
) -> DepthFusion:
    """Fit disparity to metric depth over the pixels of `mask` (True = use; None uses all) whose metric depth is known.

    `robust` is an MM-estimate (Yohai 1987): least median of squares over pairs of pixels, then Tukey's biweight;
    otherwise plain least squares. Raises InputError for too few pixels and for disparity that does not grow with
    nearness.
    """
    d, inverse = _known_pixels(disparity, metric, mask)
    alpha, beta = _robust_line(d, inverse) if robust else _line(d, inverse, np.ones_like(d))
    if not alpha > 0:
        raise InputError(
            f"metric depth does not shrink where disparity grows (alpha {alpha:.3g}), expected it to: check that the "
            "relative network gives disparity and that both networks saw the same key frames"
        )
    off = np.abs(alpha * d + beta - inverse) / inverse
    return DepthFusion(float(alpha), float(beta), float((off < 0.1).mean()), float(MAD_TO_SIGMA * np.median(off)))


def refit(
    fusion: DepthFusion,
    disparity: Float[np.ndarray, "keyframe height width"],
    inverse: Float[np.ndarray, "height width"],
    mask: Bool[np.ndarray, "keyframe height width"],
) -> DepthFusion:
    """Lead the line through pixels of `mask` (True = use) whose inverse depth (1/m) is known, such as a known floor's.

    Where these are nearly equally far they tell only the scale, and the slope stays.
    """
    now = fusion.alpha * disparity.astype(np.float64) + fusion.beta
    known = mask & (now > 1 / FARTHEST_M) & (inverse > 1 / FARTHEST_M)
    if not known.any():
        return fusion
    target = np.broadcast_to(inverse, mask.shape)[known]
    d, before, target = _some(disparity[known].astype(np.float64), now[known], target)
    scale, middle = float(np.median(target / before)), np.median(before)
    scaled = replace(fusion, alpha=scale * fusion.alpha, beta=scale * fusion.beta)
    spread = MAD_TO_SIGMA * np.median(np.abs(before - middle)) / middle
    if len(d) < _MIN_PIXELS or not spread:
        return scaled
    alpha, beta = _robust_line(d, target)
    trust = spread**2 / (spread**2 + _NARROW**2) if alpha > 0 else 0.0
    alpha, beta = (trust * new + (1 - trust) * old for new, old in ((alpha, scaled.alpha), (beta, scaled.beta)))
    return replace(fusion, alpha=float(alpha), beta=float(beta))


def _some(*values: Float64[np.ndarray, " pixel"]) -> list[Float64[np.ndarray, " some"]]:
    """Draw as many pixels as a line is fitted to, the same of each array."""
    count = len(values[0])
    if count <= _MOST_PIXELS:
        return list(values)
    some = np.random.default_rng(0).choice(count, _MOST_PIXELS, replace=False)
    return [each[some] for each in values]


def _known_pixels(
    disparity: Float[np.ndarray, "keyframe height width"],
    metric: Float[np.ndarray, "keyframe low_height low_width"],
    mask: Bool[np.ndarray, "keyframe height width"] | None,
) -> list[Float64[np.ndarray, " pixel"]]:
    """Pair disparity and inverse metric depth (1/m) of the known pixels, or of as many of them as the fit uses."""
    metres = upsample(metric, disparity.shape[1:])
    known = np.isfinite(disparity) & (metres > 0) & (True if mask is None else mask)
    d, inverse = disparity[known].astype(np.float64), 1 / metres[known].astype(np.float64)
    if len(d) < _MIN_PIXELS or np.ptp(d) == 0:
        raise InputError(
            f"{len(d)} pixels with {len(np.unique(d))} disparities have a metric depth, expected {_MIN_PIXELS} or more "
            "that differ: check the images, and depth/ or the depth networks, whichever it is from"
        )
    return _some(d, inverse)


def upsample(
    metric: Float[np.ndarray, "keyframe low_height low_width"], size: tuple[int, ...]
) -> Float32[np.ndarray, "keyframe height width"]:
    """Resize metric depth bilinearly to (height, width); NaN wherever an unknown depth would have a share."""
    known = torch.from_numpy(np.where(np.isfinite(metric) & (metric > 0), metric, np.nan).astype(np.float32))
    return torch.nn.functional.interpolate(known[:, None], size, mode="bilinear", align_corners=False)[:, 0].numpy()


def background(
    depth: Float[np.ndarray, "keyframe height width"], people: Bool[np.ndarray, "keyframe height width"]
) -> Float32[np.ndarray, "height width"]:
    """Compute the depth of the empty room: the median over the key frames in which nobody covers the pixel.

    `people` is True on persons. NaN where no key frame is left.
    """
    return median(np.where(grow(people), np.nan, depth).astype(np.float32))


def grow(people: Bool[np.ndarray, "keyframe height width"]) -> Bool[np.ndarray, "keyframe height width"]:
    """Dilate masks of persons by 1 % of the image's width, since neither masks nor depth edges are exact."""
    pixels = max(1, round(people.shape[2] / 100))
    return binary_dilation(people, structure=np.ones((1, 3, 3)), iterations=pixels)


def median(values: Float32[np.ndarray, "keyframe *value"]) -> Float32[np.ndarray, "*value"]:
    """Compute the median over key frames, ignoring NaN; NaN where every key frame is NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN slices are NaN, as meant
        return np.nanmedian(values, axis=0)


def _robust_line(d: Float64[np.ndarray, " pixel"], inverse: Float64[np.ndarray, " pixel"]) -> tuple[float, float]:
    alpha, beta, scale = _least_median(d, inverse)
    for _ in range(20):
        alpha, beta = _line(d, inverse, tukey_weights(np.abs(alpha * d + beta - inverse), scale))
    return alpha, beta


def _least_median(
    d: Float64[np.ndarray, " pixel"], inverse: Float64[np.ndarray, " pixel"]
) -> tuple[float, float, float]:
    """Find the line through two pixels with the least median residual (Rousseeuw 1984), and the scale of the noise.

    The scale is at least 1 % of the median, or a flat wall that fills half the image would make an outlier of the rest.
    """
    rng = np.random.default_rng(0)
    i, j = rng.integers(len(d), size=(2, _PAIRS))
    i, j = i[d[i] != d[j]], j[d[i] != d[j]]
    if len(i) == 0:
        raise InputError("nearly all pixels have the same disparity, expected it to vary: check the relative network")
    alphas = (inverse[i] - inverse[j]) / (d[i] - d[j])
    betas = inverse[i] - alphas * d[i]
    some = rng.integers(len(d), size=2000)
    medians = np.median(np.abs(alphas[:, None] * d[some] + betas[:, None] - inverse[some]), axis=1)
    best = int(medians.argmin())
    return alphas[best], betas[best], max(MAD_TO_SIGMA * medians[best], 0.01 * np.median(inverse))


def _line(
    d: Float64[np.ndarray, " pixel"], inverse: Float64[np.ndarray, " pixel"], weights: Float64[np.ndarray, " pixel"]
) -> tuple[float, float]:
    """Solve `alpha d + beta = inverse` by weighted least squares."""
    center, level = np.average(d, weights=weights), np.average(inverse, weights=weights)
    deviation = weights * (d - center)
    spread = deviation @ (d - center)
    alpha = deviation @ (inverse - level) / spread if spread > 0 else 0.0
    return alpha, level - alpha * center
