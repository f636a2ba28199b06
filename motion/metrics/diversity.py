"""Diversity: mean distance of two random motions of a set (Guo et al. 2020, Action2Motion)."""

import numpy as np
from jaxtyping import Float, Int, Int64

from motion.errors import InputError
from motion.metrics.embeddings import finite


def diversity(
    motions: Float[np.ndarray, "row dim"], first: Int[np.ndarray, " pair"], second: Int[np.ndarray, " pair"]
) -> float:
    """Compute the mean Euclidean distance of the rows `first` and `second`."""
    motions = finite(motions, "motion")
    return float(np.linalg.norm(motions[first] - motions[second], axis=1).mean())


def draw_pairs(
    rows: int, pairs: int, rng: np.random.Generator
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"]]:
    """Draw `pairs` rows twice, each without replacement; as in other evaluations, a row may meet itself.

    Raises InputError unless there are more rows than pairs.
    """
    if rows <= pairs:
        raise InputError(
            f"found {rows} motions, expected more than the {pairs} pairs of Diversity: evaluate more motions, or "
            "declare fewer diversity_pairs in the protocol"
        )
    return rng.choice(rows, pairs, replace=False), rng.choice(rows, pairs, replace=False)
