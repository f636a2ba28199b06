"""Performances: clips of motion capture, cut, looped and slowed, before they are put into a room.

A performance is one person over the origin who faces +y and stands on the floor, z = 0. The clips are DeepMimic's or a
caller's; `recon.simulate.poses` lays parts of clips over authored poses.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8
from torch import Tensor

from motion.body import Body
from motion.clips.ground import lowest_skin
from motion.clips.transforms import Neighbours, canonical_start
from motion.datasets import deepmimic
from motion.rotations import slerp, yaw_matrix
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, JOINT, NUM_JOINTS
from motion.smpl_parameters import SmplParameters

CARE = ("getup_facedown", "getup_faceup", "crawl", "roll")
FIDGETS = ("walk", "dance_a", "dance_b", "punch", "kick", "crawl", "getup_faceup")
TRUNK = [JOINT[name] for name in ("spine1", "spine2", "spine3", "neck", "head")]
ARMS = [JOINT[f"{side}_{name}"] for side in ("left", "right") for name in ("collar", "shoulder", "elbow")]
LOOP_BLEND_S = 0.2  # over which a loop's end is blended into its start
ACTION_INDEX = {name: index for index, name in enumerate(ACTIONS)}


@dataclass(frozen=True, eq=False)
class Actor:
    """Body shape and frame times of a performance."""

    body: Body
    betas: Float[Tensor, "10"]
    fps: float
    num_frames: int

    @property
    def times(self) -> Float[np.ndarray, " frame"]:
        """Time of each frame in seconds, from 0."""
        return np.arange(self.num_frames) / self.fps

    def record(
        self,
        pelvis: Float[Tensor, "frame 3"],
        rotations: Float[Tensor, "frame 24 3 3"],
        action: int | Int8[np.ndarray, " frame"],
    ) -> MotionSequence:
        """Build the record of pelvis positions (metres) and local rotations (joint 0: to the world).

        `action` is one index into `motion.skeleton.ACTIONS`, or one for each frame.
        """
        posed = SmplParameters.from_pelvis(pelvis[None], rotations[None], self.betas[None], self.body)
        actions = np.broadcast_to(np.asarray(action, dtype=np.int8), (1, len(pelvis)))
        return MotionSequence(
            id="simulated", source="simulated", split="train", fps=self.fps, **posed.posed_arrays(self.body),
            valid=np.ones((1, len(pelvis)), dtype=np.bool_), person_class=np.ones(1, dtype=np.int8),
            action=actions.copy(),
        )  # fmt: skip


@lru_cache(maxsize=2)
def clips(body: Body) -> dict[str, MotionSequence]:
    """Read DeepMimic's clips, keyed by name without the prefix "humanoid3d_"."""
    found = [deepmimic.read_clip(clip, body) for clip in deepmimic.list_clips()]
    return {clip.id.removeprefix("deepmimic/humanoid3d_"): clip for clip in found}


def sample(
    clip: MotionSequence, times: Float[np.ndarray, " frame"], person: int = 0
) -> tuple[Float[Tensor, "frame 3"], Float[Tensor, "frame 24 3 3"]]:
    """Interpolate a person's pelvis and local rotations at any times (seconds); times outside the clip are clamped."""
    last = clip.num_frames - 1
    near = Neighbours.at(torch.from_numpy(np.clip(times * clip.fps, 0, last)), last + 1)
    rotations = clip.parameters.rotations[person]
    pelvis = torch.from_numpy(clip.joints[person, :, 0])
    weight = near.weight[:, None].expand(-1, rotations.shape[1])
    mixed = slerp(rotations[near.lower], rotations[near.upper], weight)
    return torch.lerp(pelvis[near.lower], pelvis[near.upper], near.weight[:, None]), mixed


def there_and_back(
    rng: np.random.Generator, times: Float[np.ndarray, " frame"], duration: float, speed: float, hold: float
) -> Float[np.ndarray, " frame"]:
    """Draw times that run forward and backward through a clip of `duration` seconds and pause at both ends.

    `speed` is relative to the clip's; a pause lasts `hold` seconds on average. `times` and the result are in seconds.
    """
    knots, values, now, at_end = [0.0], [0.0], 0.0, False
    while now <= times[-1]:
        for step, value in ((hold * rng.uniform(0.3, 1.7), at_end), (duration / speed, not at_end)):
            now += step
            knots.append(now)
            values.append(duration * value)
        at_end = not at_end
    return np.interp(times, knots, values)


def fidget(
    rng: np.random.Generator, actor: Actor, rotations: Float[Tensor, "frame 24 3 3"], share: float
) -> Float[Tensor, "frame 24 3 3"]:
    """Add to trunk and arms a share (0 to 1) of how a random clip moves away from its first pose, slowed."""
    clip = clips(actor.body)[str(rng.choice(FIDGETS))]
    duration = clip.num_frames / clip.fps
    times = there_and_back(rng, actor.times, duration, rng.uniform(0.3, 0.7), 0.5)
    _, moving = sample(clip, times)
    joints = TRUNK + ARMS
    away = slerp(
        torch.eye(3).expand(len(moving), len(joints), 3, 3),
        moving[:1, joints].mT @ moving[:, joints],
        torch.full((len(moving), len(joints)), share),
    )
    moved = rotations.clone()
    moved[:, joints] = rotations[:, joints] @ away
    return moved


def grounded(
    performance: MotionSequence, body: Body, heights: Float32[np.ndarray, " frame"] | float = 0.0
) -> MotionSequence:
    """Shift each frame vertically so that its lowest vertex is at `heights` (metres)."""
    shift = np.zeros((1, performance.num_frames, 3), dtype=np.float32)
    shift[0, :, 2] = heights - lowest_skin(performance, body)[0]
    return replace(performance, transl=performance.transl + shift, joints=performance.joints + shift[:, :, None])


def of_clip(
    rng: np.random.Generator, actor: Actor, clip: MotionSequence, person: int = 0, share: float = 0.0
) -> MotionSequence:
    """Perform a clip, there and back as often as time allows; a longer clip is cut to a random window.

    The lowest skin is as high as in the clip, although the clip's body may be another person's. `share` is how much to
    fidget, 0 to 1.
    """
    duration = (clip.num_frames - 1) / clip.fps
    if duration > actor.times[-1]:
        times = actor.times + rng.uniform(0, duration - actor.times[-1])
    else:
        times = there_and_back(rng, actor.times, duration, rng.uniform(0.6, 1.0), rng.uniform(0.3, 3.0))
    pelvis, rotations = sample(clip, times, person)
    action = clip.action[person, np.round(times * clip.fps).astype(int)]
    theirs = replace(actor, betas=torch.from_numpy(clip.betas[person])).record(pelvis, rotations, action)
    rotations = fidget(rng, actor, rotations, share) if share else rotations
    own = grounded(actor.record(pelvis, rotations, action), actor.body, lowest_skin(theirs, actor.body)[0])
    if clip.source == "deepmimic":
        own = replace(own, action=np.where(own.action == 0, _by_height(own), own.action))
    return canonical_start(own, actor.body)


def _by_height(performance: MotionSequence) -> Int8[np.ndarray, " frame"]:
    """Guess the action in each frame of standing up or lying down from the heights of pelvis and head."""
    pelvis, head = performance.joints[0, :, 0, 2], performance.joints[0, :, JOINT["head"], 2]
    low = np.where(head < 0.45, ACTION_INDEX["laying_on_floor"], ACTION_INDEX["sitting_on_floor"])
    high = [ACTION_INDEX["standing_on_floor"], ACTION_INDEX["kneeling"]]
    return np.select([pelvis > 0.7, pelvis > 0.4], high, low).astype(np.int8)


def walking(
    rng: np.random.Generator,
    actor: Actor,
    path: Float[np.ndarray, "frame 2"],
    headings: Float[np.ndarray, " frame"],
    pace: float,
) -> MotionSequence:
    """Walk in a loop along a path in the world (metres).

    `headings` are rad from +y, `pace` is the speed relative to the clip's. Each loop's end is blended into the next
    one's start.
    """
    clip = clips(actor.body)["walk"]
    duration = (clip.num_frames - 1) / clip.fps
    cycle = duration - LOOP_BLEND_S
    height, rotations = _looped(clip, np.mod(rng.uniform(0, cycle) + pace * actor.times, cycle), cycle)
    ahead = clip.joints[0, -1, 0] - clip.joints[0, 0, 0]
    straight = yaw_matrix(math.pi / 2 - math.atan2(ahead[1], ahead[0]))
    spins = torch.from_numpy(np.stack([yaw_matrix(angle) for angle in headings]) @ straight)
    rotations = torch.cat([spins[:, None] @ rotations[:, :1], rotations[:, 1:]], dim=1)
    position = torch.cat([torch.from_numpy(path).float(), height], dim=1)
    return grounded(actor.record(position, rotations, ACTION_INDEX["standing_on_floor"]), actor.body)


def _looped(
    clip: MotionSequence, into: Float[np.ndarray, " frame"], cycle: float
) -> tuple[Float[Tensor, "frame 1"], Float[Tensor, "frame 24 3 3"]]:
    """Sample the pelvis' height and the rotations `into` a loop (s), its start blended with what follows its end."""
    (pelvis, rotations), (before, ending) = sample(clip, into), sample(clip, into + cycle)
    weight = torch.from_numpy(np.clip(into / LOOP_BLEND_S, 0, 1)).float()
    rotations = slerp(ending, rotations, weight[:, None].expand(-1, NUM_JOINTS))
    return torch.lerp(before[:, 2:], pelvis[:, 2:], weight[:, None]), rotations


def walk_speed(body: Body) -> float:
    """Compute the speed of the walking clip in m/s."""
    clip = clips(body)["walk"]
    distance = np.linalg.norm(clip.joints[0, -1, 0, :2] - clip.joints[0, 0, 0, :2])
    return float(distance) * clip.fps / (clip.num_frames - 1)
