"""MM-Dist: distance of a motion's embedding from that of its own text (Guo et al. 2022)."""

import numpy as np
from jaxtyping import Float

from motion.metrics.embeddings import as_pairs


def mm_dist(texts: Float[np.ndarray, "row dim"], motions: Float[np.ndarray, "motion width"]) -> float:
    """Compute the mean Euclidean distance of a text and the motion in the same row."""
    texts, motions = as_pairs(texts, motions)
    return float(np.linalg.norm(texts - motions, axis=1).mean())
