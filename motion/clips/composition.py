"""Composition: scenes of several persons from real clips of few, placed together in one room.

Motion capture with more than two persons hardly exists, but a person without contact to others moves much as when
alone. Such scenes teach a model to keep persons apart, and whose caption is whose. World: Z up, metres.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from motion.body import Body
from motion.clips.augment import translate, yaw
from motion.sequence import MotionSequence

NEAREST_M, FARTHEST_M = 0.8, 3.0  # from the first clip's start to another's, before it has to give way
APART_M = 0.2  # that joints of different clips keep; limbs are about half as thick
DISTANCE_GROWTH = 1.2  # from one tried distance to the next


def compose(sequences: Sequence[MotionSequence], body: Body, rng: np.random.Generator) -> MotionSequence:
    """Put all persons into one clip: the first clip's where they were, each other clip's turned and moved at random.

    Persons of a clip shorter than the longest are not valid afterwards. Captions are those of all, one after the other.
    """
    placed = [sequences[0]]
    for sequence in sequences[1:]:
        placed.append(_placed(placed, sequence, body, rng))
    frames = max(sequence.num_frames for sequence in placed)
    arrays: dict[str, Any] = {
        name: np.concatenate([_longer(getattr(sequence, name), frames) for sequence in placed])
        for name in ("transl", "global_orient", "body_pose", "joints", "action")
    }
    first = placed[0]
    return replace(
        first,
        id="+".join(sequence.id for sequence in placed),
        valid=np.concatenate([_ended(sequence.valid, frames) for sequence in placed]),
        betas=np.concatenate([sequence.betas for sequence in placed]),
        person_class=np.concatenate([sequence.person_class for sequence in placed]),
        texts=[text for sequence in placed for text in sequence.texts],
        **arrays,
    )


def _placed(
    placed: Sequence[MotionSequence], sequence: MotionSequence, body: Body, rng: np.random.Generator
) -> MotionSequence:
    """Place a clip near those already placed, at a distance that no joints of them violate."""
    turned = yaw(sequence, rng.uniform(-math.pi, math.pi), body)
    distance = rng.uniform(NEAREST_M, FARTHEST_M)
    while True:
        angle = rng.uniform(-math.pi, math.pi)
        offset = distance * np.array([math.cos(angle), math.sin(angle)], dtype=np.float32)
        candidate = translate(turned, offset, body)
        if all(_closest(candidate, other) >= APART_M for other in placed):
            return candidate
        distance *= DISTANCE_GROWTH


def _closest(one: MotionSequence, two: MotionSequence) -> float:
    """Compute the metres between the nearest joints of two clips' persons at one time, seen from above."""
    frames = min(one.num_frames, two.num_frames)
    tracks = [sequence.joints[:, :frames, :, :2] for sequence in (one, two)]
    there = [sequence.valid[:, :frames] for sequence in (one, two)]
    apart = np.linalg.norm(tracks[0][:, None, :, :, None] - tracks[1][None, :, :, None], axis=-1)
    both = there[0][:, None] & there[1][None]
    return float(np.where(both[..., None, None], apart, np.inf).min())


def _longer(array: Shaped[np.ndarray, "person frame *rest"], frames: int) -> np.ndarray:
    """Repeat the last frame up to so many frames."""
    missing = frames - array.shape[1]
    return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)], mode="edge")


def _ended(valid: Bool[np.ndarray, "person frame"], frames: int) -> np.ndarray:
    return np.pad(valid, [(0, 0), (0, frames - valid.shape[1])])
