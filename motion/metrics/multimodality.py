"""MultiModality: mean distance of motions of one sentence (Guo et al. 2020, Action2Motion)."""

import numpy as np
from jaxtyping import Float, Int, Int64

from motion.errors import InputError
from motion.metrics.embeddings import finite


def multimodality(
    motions: Float[np.ndarray, "sentence sample dim"],
    first: Int[np.ndarray, " pair"],
    second: Int[np.ndarray, " pair"],
) -> float:
    """Compute the mean Euclidean distance of the samples `first` and `second` of each sentence."""
    motions = finite(motions, "motion")
    return float(np.linalg.norm(motions[:, first] - motions[:, second], axis=2).mean())


def draw_unlike_pairs(
    samples: int, pairs: int, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Draw `pairs` pairs of two different samples; a pair may come again, as a sentence may have two samples only.

    Raises InputError if there are fewer than 2 samples.
    """
    if samples < 2:
        raise InputError(f"found {samples} samples of a sentence, expected at least 2 for MultiModality")
    first = rng.integers(samples, size=pairs)
    return first, (first + rng.integers(1, samples, size=pairs)) % samples
