"""Variations of a clip that are as real as the clip.

World: Z up, metres, radians. All persons vary together, and the joints stay the forward kinematics of the pose. A clip
that has a scene would no longer fit into it, so moving or mirroring it raises InputError.
"""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from motion.body import Body
from motion.clips.mirror_words import mirror_words
from motion.clips.transforms import canonical_start, check_body, crop, resample, transform
from motion.errors import InputError
from motion.rotations import yaw_matrix
from motion.sequence import MotionSequence


def random_crop(sequence: MotionSequence, max_frames: int, body: Body, rng: np.random.Generator) -> MotionSequence:
    """Cut a random window of `max_frames` out of a longer clip, started anew at the origin."""
    spare = sequence.num_frames - max_frames
    if spare <= 0:
        return sequence
    start = int(rng.integers(spare + 1))
    return canonical_start(crop(sequence, start, start + max_frames), body)


def mirror(sequence: MotionSequence, body: Body) -> MotionSequence:
    """Mirror the clip in the world's plane x = 0, left and right exchanged in the captions too.

    The pelvis is mirrored exactly, the other joints as far as the body is symmetric.
    """
    _check_no_scene(sequence)
    check_body(sequence, body)
    mirrored = sequence.parameters.mirrored(body).posed_arrays(body)
    return replace(sequence, **mirrored, texts=[mirror_words(text) for text in sequence.texts])


def yaw(sequence: MotionSequence, angle: float, body: Body) -> MotionSequence:
    """Turn the clip by `angle` radians about the world's Z axis, counterclockwise seen from above."""
    _check_no_scene(sequence)
    return transform(sequence, yaw_matrix(angle), np.zeros(3, dtype=np.float32), body)


def translate(sequence: MotionSequence, offset: Float32[np.ndarray, "2"], body: Body) -> MotionSequence:
    """Shift the clip by `offset` metres along X and Y."""
    _check_no_scene(sequence)
    return transform(sequence, np.eye(3, dtype=np.float32), np.append(offset, np.float32(0)), body)


def change_speed(sequence: MotionSequence, factor: float, body: Body) -> MotionSequence:
    """Play the movements `factor` times as fast, at the same frame rate; raises InputError unless it is positive."""
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"{sequence.id}: cannot change its speed by {factor}, expected a positive factor")
    return resample(replace(sequence, fps=sequence.fps * factor), sequence.fps, body)


def _check_no_scene(sequence: MotionSequence) -> None:
    if sequence.scene_id is not None:
        raise InputError(
            f"{sequence.id}: belongs into scene {sequence.scene_id!r}, where it cannot be moved or mirrored: "
            "set scene_id to None to use the motion alone"
        )
