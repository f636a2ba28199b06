"""MM-Dist: how far a motion lies from its own text (Guo et al. 2022)."""

import numpy as np
from jaxtyping import Float, Float64

from motion.errors import InputError
from motion.metrics.protocol import finite


def mm_dist(texts: Float[np.ndarray, "row dim"], motions: Float[np.ndarray, "motion width"]) -> float:
    """Mean Euclidean distance of a text and the motion in the same row."""
    texts, motions = as_pairs(texts, motions)
    return float(np.linalg.norm(texts - motions, axis=1).mean())


def as_pairs(
    texts: Float[np.ndarray, "row dim"], motions: Float[np.ndarray, "motion width"]
) -> tuple[Float64[np.ndarray, "row dim"], Float64[np.ndarray, "row dim"]]:
    """Texts and motions in float64, refused unless there is a motion for each text."""
    if texts.shape != motions.shape:
        raise InputError(f"texts have shape {texts.shape} and motions {motions.shape}, expected a motion for each text")
    return finite(texts, "text"), finite(motions, "motion")
