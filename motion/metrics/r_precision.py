"""R-precision: share of texts whose own motion is among the nearest of a pool (Guo et al. 2022); rows are texts."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.spatial.distance import cdist

from motion.errors import InputError
from motion.metrics.embeddings import as_pairs


def r_precision(
    texts: Float[np.ndarray, "row dim"], motions: Float[np.ndarray, "motion width"], pool_size: int, top_k: int = 3
) -> Float64[np.ndarray, " top_k"]:
    """Compute the share of texts whose own motion is among the 1 .. `top_k` nearest of its pool.

    Pools are `pool_size` consecutive rows; InputError unless they fill all. Of motions equally near, the earlier counts
    as nearer. By chance the shares are k / pool_size.
    """
    texts, motions = as_pairs(texts, motions)
    if len(texts) % pool_size:
        raise InputError(
            f"cannot split {len(texts)} texts into pools of {pool_size}, expected a multiple: draw them with "
            "draw_pools, or declare another pool_size in the protocol"
        )
    ranks = np.empty(len(texts), dtype=np.int64)
    for start in range(0, len(texts), pool_size):
        pool = slice(start, start + pool_size)
        nearest = cdist(texts[pool], motions[pool]).argsort(axis=1, kind="stable")
        ranks[pool] = (nearest == np.arange(pool_size)[:, None]).argmax(axis=1)
    return (ranks[:, None] < np.arange(1, top_k + 1)).mean(axis=0)


def draw_pools(captions: Sequence[str], pool_size: int, rng: np.random.Generator) -> Int[np.ndarray, "pool place"]:
    """Draw as many random pools of rows as can be filled without a caption twice in one; other rows are left out.

    A caption's twin in the pool would punish a right answer. k pools can be filled if the captions, each counted k
    times at most, are k pool_size or more. Dealt out caption by caption, no pool gets the same caption again. Raises
    InputError if not even one pool can be filled.
    """
    rows = rng.permutation(len(captions))
    labels, counts = np.unique(np.array(captions)[rows], return_inverse=True, return_counts=True)[1:]
    most = len(captions) // pool_size
    pools = next((k for k in range(most, 0, -1) if np.minimum(counts, k).sum() >= k * pool_size), 0)
    if not pools:
        raise InputError(
            f"found {len(counts)} distinct captions, too few for a pool of {pool_size} in which none is there twice: "
            "evaluate more motions, or declare another pool_size in the protocol"
        )
    blocks = [np.flatnonzero(labels == label)[:pools] for label in rng.permutation(len(counts))]
    return rows[np.concatenate(blocks)[: pools * pool_size]].reshape(pool_size, pools).T
