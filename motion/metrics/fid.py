"""Fréchet distance of two sets of embeddings, each taken as a Gaussian (Heusel et al. 2017).

    FID = |m1 - m2|^2 + Tr C1 + Tr C2 - 2 Tr sqrt(C1 C2)

With the centred rows over sqrt(n - 1) as Q R, a covariance is R^T R, and Tr sqrt(C1 C2) is the sum of the singular
values of R1 R2^T. That needs no matrix square root, so it holds with fewer rows than dimensions too.
"""

import math

import numpy as np
from jaxtyping import Float, Float64

from motion.errors import InputError
from motion.metrics.embeddings import finite


def fid(real: Float[np.ndarray, "real dim"], generated: Float[np.ndarray, "generated width"]) -> float:
    """Compute the Fréchet distance in squared units of the embeddings, covariances over n - 1.

    Raises InputError where the widths differ, where a set has fewer than 2 rows, or where a number is not finite.
    """
    if real.shape[1] != generated.shape[1]:
        raise InputError(
            f"cannot take the FID of embeddings {real.shape[1]} and {generated.shape[1]} wide, expected one width"
        )
    mean, factor = _gaussian(real, "real")
    other_mean, other_factor = _gaussian(generated, "generated")
    spread = np.sum(factor**2) + np.sum(other_factor**2)
    common = np.linalg.norm(factor @ other_factor.T, "nuc")
    return max(0.0, float(np.sum((mean - other_mean) ** 2) + spread - 2 * common))


def _gaussian(
    rows: Float[np.ndarray, "row dim"], what: str
) -> tuple[Float64[np.ndarray, " dim"], Float64[np.ndarray, "rank dim"]]:
    """Compute the mean, and the triangular R of the covariance R^T R."""
    if len(rows) < 2:
        raise InputError(f"found {len(rows)} {what} embeddings, expected at least 2 for a covariance")
    rows = finite(rows, what)
    mean = rows.mean(axis=0)
    return mean, np.linalg.qr((rows - mean) / math.sqrt(len(rows) - 1)).R
