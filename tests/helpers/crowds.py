"""Persons of the DeepMimic clips on a floor, before a camera above the world's origin that looks along y."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import load_body
from motion.datasets import deepmimic
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from recon.people import People


@lru_cache(maxsize=8)
def read_clip(name: str) -> MotionSequence:
    found = next(clip for clip in deepmimic.list_clips() if clip.id.endswith(name))
    return deepmimic.read_clip(found, load_body("default"))


def crowd(clips: Sequence[str], places: Float[Tensor, "person 2"], num_frames: int, rng: np.random.Generator) -> People:
    """Place one person of random shape for each clip at 10 fps; halfway the pelvis is at its place (m)."""
    people = [_actor(read_clip(name), place, num_frames, rng) for name, place in zip(clips, places, strict=True)]
    return People(*(torch.cat([getattr(one, name) for one in people]) for name in vars(people[0])))


def _actor(motion: MotionSequence, place: Float[Tensor, "2"], num_frames: int, rng: np.random.Generator) -> People:
    body = load_body("default")
    # To the clip's end and back, from anywhere within it.
    times = (np.arange(num_frames) * round(motion.fps / 10) + rng.integers(motion.num_frames)) % (2 * motion.num_frames)
    index = np.minimum(times, 2 * motion.num_frames - 1 - times)
    transl, orient, pose = (
        torch.from_numpy(getattr(motion, name)[:1, index]) for name in ("transl", "global_orient", "body_pose")
    )
    betas = torch.from_numpy(rng.normal(0, 1, (1, 10))).float().clamp(-2, 2)
    actor = People(transl, orient, pose, betas, torch.ones(1, num_frames, dtype=torch.bool))
    turn = matrix_from_axis_angle(torch.tensor([0.0, 0.0, float(rng.uniform(-np.pi, np.pi))]))
    actor = actor.moved(turn, torch.zeros(3), body)
    middle = actor.joints(body)[0, num_frames // 2, 0, :2]
    return actor.moved(torch.eye(3), torch.cat([place - middle, -_sole(actor)[None]]), body)


def _sole(actor: People) -> Float[Tensor, ""]:
    """Compute the height of the lowest skin, which the shape moves off the floor."""
    some = slice(None, None, max(1, actor.transl.shape[1] // 3))
    return load_body("default").vertices(actor[:, some])[..., 2].amin()
