"""Square crops of persons, cut as the authors of HMR2.0 cut them (4D-Humans' ViTDetDataset; Goel et al. 2023).

A box is widened to 192 : 256, so that it fits into the columns the network sees; the square has the longer side. It is
resampled bilinearly with black outside the image. For squares more than 2.2 times the crop's size the image is blurred
first, by a Gaussian of standard deviation (f / 2 - 1) / 2 pixels for a factor f, as the authors do.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Float32, UInt8

from motion.errors import InputError

ASPECT = 192 / 256
BLURRED_FROM = 1.1
TRUNCATE_SIGMAS = 4.0  # where the Gaussian ends


def crop_square(
    image: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, "4"], size: int = 256
) -> tuple[UInt8[np.ndarray, "size size 3"], Float32[np.ndarray, "3"]]:
    """Cut the crop of a box (x0, y0, x1, y1 in pixels); also return its square: centre x, centre y and side in pixels.

    The crop's pixel u shows the image's x = centre + (u - size / 2) side / size; likewise y. Raises InputError for an
    empty box.
    """
    square = square_of(box)
    center, side = square[:2].astype(np.float64), float(square[2])
    columns, left = _resampling(center[0], side, size, image.shape[1])
    rows, top = _resampling(center[1], side, size, image.shape[0])
    seen = image[top : top + rows.shape[1], left : left + columns.shape[1]].astype(np.float32)
    narrow = (rows @ seen.reshape(len(seen), -1)).reshape(size, seen.shape[1], 3)
    crop = (columns @ narrow.transpose(1, 0, 2).reshape(seen.shape[1], -1)).reshape(size, size, 3).transpose(1, 0, 2)
    return np.rint(crop.clip(0, 255)).astype(np.uint8), square


def square_of(box: Float[np.ndarray, "4"]) -> Float32[np.ndarray, "3"]:
    """Compute centre x, centre y and side (pixels) of a box's square; raises InputError for an empty box."""
    x0, y0, x1, y1 = box.astype(np.float64)
    if not (np.isfinite(box).all() and x1 > x0 and y1 > y0):
        raise InputError(f"a box is {box.tolist()}, expected x0 < x1 and y0 < y1 in pixels")
    side = max(x1 - x0, y1 - y0, (x1 - x0) / ASPECT, (y1 - y0) * ASPECT)
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, side], dtype=np.float32)


def _resampling(center: float, side: float, size: int, length: int) -> tuple[scipy.sparse.csr_array, int]:
    """Compute the weights of an image's rows (or columns) in those of the crop, and the first row that has any."""
    kernel = _gaussian(side / size / 2)
    radius = len(kernel) // 2
    at = center + (np.arange(size) - size / 2) * side / size
    first = np.floor(at).astype(np.int64)
    weights = np.stack([first + 1 - at, at - first], axis=1)
    neighbors = first[:, None] + [0, 1]
    weights = weights * ((neighbors >= 0) & (neighbors < length))
    # The blur repeats the image's edge, as scikit-image's does.
    taps = (neighbors[..., None] + np.arange(-radius, radius + 1)).clip(0, length - 1)
    weights = (weights[..., None] * kernel).reshape(size, -1)
    taps = taps.reshape(size, -1)
    used = taps[weights > 0] if (weights > 0).any() else np.zeros(1, dtype=np.int64)
    start, stop = int(used.min()), int(used.max()) + 1
    crop_row = np.repeat(np.arange(size), taps.shape[1])
    entries = (weights.ravel().astype(np.float32), (crop_row, (taps - start).ravel().clip(0, stop - start - 1)))
    return scipy.sparse.csr_array(entries, shape=(size, stop - start)), start


def _gaussian(factor: float) -> Float[np.ndarray, " tap"]:
    """Compute the kernel of the blur before shrinking by twice `factor`; a single 1 where there is no blur."""
    if factor <= BLURRED_FROM:
        return np.ones(1)
    sigma = (factor - 1) / 2
    radius = int(TRUNCATE_SIGMAS * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()
