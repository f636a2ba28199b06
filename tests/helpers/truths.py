"""True persons of a room whose reconstructions have known errors."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from motion.body import load_body
from motion.clips.transforms import resample
from motion.datasets import deepmimic
from motion.sequence import MotionSequence
from recon.simulate import Truth
from tests.helpers.fitted_motions import room_camera

BODY = load_body()
FRAMES = 20
OF_PERSONS = ("transl", "global_orient", "body_pose", "betas", "joints", "valid", "action", "person_class")


@lru_cache
def walk() -> MotionSequence:
    """Take a second of one person, 4 m before the camera."""
    clip = next(clip for clip in deepmimic.list_clips() if clip.id.endswith("_walk"))
    motion = resample(deepmimic.read_clip(clip, BODY), 20.0, BODY)
    away = np.array([0.0, 4.0, 0.0], dtype=np.float32)
    arrays = {
        name: getattr(motion, name)[:, :FRAMES]
        for name in ("transl", "global_orient", "body_pose", "joints", "valid", "action")
    }
    return replace(motion, **arrays | {name: arrays[name] + away for name in ("transl", "joints")})


def true_room(*names: str) -> Truth:
    """Build the truth: some persons, a metre apart, before a camera that hangs 2.4 m high."""
    motion, people = walk(), len(names)
    arrays = {name: np.repeat(getattr(motion, name), people, axis=0) for name in OF_PERSONS}
    aside = np.arange(people, dtype=np.float32)[:, None, None] * np.array([1, 0, 0], dtype=np.float32)
    arrays["transl"], arrays["joints"] = arrays["transl"] + aside, arrays["joints"] + aside[:, None]
    nothing = np.zeros((people, FRAMES, 0), dtype=np.float32)
    return Truth(
        camera=room_camera(),
        motion=replace(motion, **arrays),
        object_ids=names,
        depth={},
        background_depth=np.ones((2, 2), dtype=np.float32),
        background_labels=np.zeros((2, 2), dtype=np.uint8),
        keypoint_names=(),
        keypoints=nothing[..., None].repeat(2, axis=-1),
        visible=nothing.astype(bool),
        seen=np.ones((people, FRAMES), dtype=np.float32),
        boxes=np.zeros((people, FRAMES, 4), dtype=np.float32),
    )
