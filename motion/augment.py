"""Variations of a clip that are as real as the clip."""

from dataclasses import replace

import numpy as np

from motion.body import Body
from motion.datasets.unify import canonical_start
from motion.sequence import MotionSequence


def crop(sequence: MotionSequence, start: int, stop: int) -> MotionSequence:
    """Frames `start` to `stop` (exclusive) of every person."""
    frames = slice(start, stop)
    per_frame = ("transl", "global_orient", "body_pose", "joints", "valid", "action")
    return replace(sequence, **{name: getattr(sequence, name)[:, frames] for name in per_frame})


def random_crop(sequence: MotionSequence, max_frames: int, body: Body, rng: np.random.Generator) -> MotionSequence:
    """A short clip as it is; of a long one a random window, started anew at the origin."""
    spare = sequence.num_frames - max_frames
    if spare <= 0:
        return sequence
    start = int(rng.integers(spare + 1))
    return canonical_start(crop(sequence, start, start + max_frames), body)
