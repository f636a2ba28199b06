"""Checks of embeddings that all metrics of them share: finite float64 numbers, as many motions as texts."""

import numpy as np
from jaxtyping import Float, Float64

from motion.errors import InputError


def finite(embeddings: Float[np.ndarray, "*rows dim"], what: str) -> Float64[np.ndarray, "*rows dim"]:
    """Convert embeddings to float64; raises InputError if there are none or if they hold NaN or infinity."""
    if not embeddings.size:
        raise InputError(f"the {what} embeddings are empty (shape {embeddings.shape}), expected at least one row")
    if not np.isfinite(embeddings).all():
        raise InputError(f"the {what} embeddings hold NaN or infinity, expected finite numbers")
    return embeddings.astype(np.float64)


def as_pairs(
    texts: Float[np.ndarray, "row dim"], motions: Float[np.ndarray, "motion width"]
) -> tuple[Float64[np.ndarray, "row dim"], Float64[np.ndarray, "row dim"]]:
    """Convert texts and motions to float64; raises InputError unless there is a motion for each text."""
    if texts.shape != motions.shape:
        raise InputError(f"texts have shape {texts.shape} and motions {motions.shape}, expected a motion for each text")
    return finite(texts, "text"), finite(motions, "motion")
