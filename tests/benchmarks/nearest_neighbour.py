"""Nearest neighbour: how far captions are found without learning, by the training clip whose joints are nearest.

What it finds shows how much of a test is recall of what was trained on: takes of one performer doing one thing are
nearly the same motion, with the same captions.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.spatial.distance import cdist

from motion.metrics.r_precision import draw_pools
from motion.sequence import MotionSequence

TIMES = 32  # evenly over a clip


def r_precision_of_nearest(
    tested: Sequence[MotionSequence], trained: Sequence[MotionSequence], pool_size: int, repeats: int = 20
) -> Float64[np.ndarray, "3"]:
    """Compute the R-precision of an untrained judge, with the first caption of each clip.

    To the judge a motion is as far from a text as from the nearest training clip that has this text; a text that no
    training clip has is equally far from all, so that chance decides.
    """
    rng = np.random.default_rng(0)
    captions = [clip.texts[0] for clip in tested]
    apart = cdist(places(tested), places(trained))
    far = {
        text: apart[:, has].min(axis=1) if (has := [text in clip.texts for clip in trained]) and any(has) else None
        for text in set(captions)
    }
    hits = []
    for _ in range(repeats):
        for pool in draw_pools(captions, pool_size, rng):
            for own in pool:
                known = far[captions[own]]
                distance = rng.random(pool_size) if known is None else known[pool]
                hits.append((distance < distance[list(pool).index(own)]).sum())
    return (np.array(hits)[:, None] < [1, 2, 3]).mean(axis=0)


def places(clips: Sequence[MotionSequence]) -> Float64[np.ndarray, "clip number"]:
    """Take the first person's joints at times of a prepared clip, which starts above the origin; metres."""
    return np.stack([_places(clip) for clip in clips])


def _places(clip: MotionSequence) -> Float64[np.ndarray, " number"]:
    at = np.linspace(0, clip.num_frames - 1, TIMES).round().astype(int)
    return clip.joints[0, at].astype(np.float64).ravel() / np.sqrt(TIMES * clip.joints.shape[2])
