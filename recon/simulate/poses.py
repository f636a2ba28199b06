"""Authored poses under real movement: persons who stand, sit or lie while trunk and arms move as in a clip.

Poses turn joints about SMPL's axes: x to the left, y up, z forward, whatever the person's place in the world.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import Body
from motion.clips.ground import lowest_skin
from motion.clips.transforms import canonical_start, transform
from motion.rotations import about_degrees
from motion.sequence import MotionSequence
from motion.skeleton import JOINT
from recon.simulate.performances import ACTION_INDEX, ARMS, Actor, clips, fidget, grounded, sample

SEAT = [JOINT[name] for name in ("pelvis", "left_hip", "right_hip")]  # joints that move the skin one sits on
SINK_M = 0.03  # depth that a body presses into a seat; half of it into a mattress
SIDES = (("left", 1.0), ("right", -1.0))
UPRIGHT = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
"""Rotation from SMPL's axes to the world for a person who stands and faces +y."""

SUPINE = torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
"""Rotation from SMPL's axes to the world for a person on their back with the head towards -y."""


def _upright(actor: Actor) -> Float[Tensor, "frame 24 3 3"]:
    """Build the pose of a person standing still after getting up: trunk and arms from the clip, the rest at zero."""
    clip = clips(actor.body)["getup_facedown"]
    _, rotations = sample(clip, np.array([(clip.num_frames - 1) / clip.fps]))
    pose = torch.eye(3).repeat(1, 24, 1, 1)
    pose[:, ARMS] = rotations[:, ARMS]
    pose[:, 0] = UPRIGHT
    return pose.repeat(actor.num_frames, 1, 1, 1)


def _bend(pose: Tensor, joint: str, *turns: Tensor) -> None:
    """Turn a joint, in place, about its parent's axes."""
    for rotation in turns:
        pose[:, JOINT[joint]] = rotation @ pose[:, JOINT[joint]]


def _hands_before(pose: Tensor, side: str, sign: float, raised: float, flexed: float, inward: float) -> None:
    """Raise a hanging arm forward, bend its elbow and turn the forearm inward, in place; degrees."""
    pose[:, JOINT[f"{side}_shoulder"]] = (
        about_degrees("x", -raised) @ pose[:, JOINT[f"{side}_shoulder"]] @ about_degrees("x", inward)
    )
    _bend(pose, f"{side}_elbow", about_degrees("y", -sign * flexed))


def standing(rng: np.random.Generator, actor: Actor, bow: float = 0.0) -> MotionSequence:
    """Perform standing; the trunk bends forward by up to `bow` degrees with arms held out, as a carer over a bed."""
    pose = _upright(actor)
    swing = 0.5 - 0.5 * np.cos(2 * math.pi * (actor.times / rng.uniform(4, 10) + rng.random()))
    angle = torch.from_numpy(bow * (0.35 + 0.65 * swing)).float()
    _bend(pose, "pelvis", UPRIGHT @ about_degrees("x", angle * 0.6) @ UPRIGHT.T)
    for spine in ("spine1", "spine2"):
        _bend(pose, spine, about_degrees("x", angle * 0.2))
    stance = rng.uniform(2, 8)
    for side, sign in SIDES:
        _bend(
            pose, f"{side}_hip", about_degrees("z", sign * stance), about_degrees("x", -angle * 0.6 - rng.uniform(0, 6))
        )
        _bend(pose, f"{side}_knee", about_degrees("x", rng.uniform(4, 14)))
        _bend(pose, f"{side}_shoulder", about_degrees("x", -angle * rng.uniform(0.5, 1.2) - (bow > 0) * 15))
        _bend(pose, f"{side}_elbow", about_degrees("y", -sign * rng.uniform(0, 60)))
    pose = fidget(rng, actor, pose, rng.uniform(0.2, 0.5))
    return canonical_start(grounded(_in_place(actor, pose, "standing_on_floor"), actor.body), actor.body)


def _in_place(actor: Actor, pose: Float[Tensor, "frame 24 3 3"], action: str) -> MotionSequence:
    """Record a pose with the pelvis at the origin."""
    return actor.record(torch.zeros(actor.num_frames, 3), pose, ACTION_INDEX[action])


def sitting(rng: np.random.Generator, actor: Actor, action: str, height: float, lean: float) -> MotionSequence:
    """Perform sitting on a seat at z = 0 that is `height` metres above the floor.

    `lean` is the trunk's angle backward in degrees; the knees are bent as far as the floor allows.
    """
    seed = int(rng.integers(2**32))
    for knee in range(85, -1, -5):
        performance = _seated(np.random.default_rng(seed), actor, action, lean, knee)
        if lowest_skin(performance, actor.body)[0, 0] > -height - 2 * SINK_M:
            break
    return performance


def _seated(rng: np.random.Generator, actor: Actor, action: str, lean: float, knee: int) -> MotionSequence:
    pose = _upright(actor)
    _bend(pose, "pelvis", UPRIGHT @ about_degrees("x", -lean) @ UPRIGHT.T)
    spread, lap = rng.uniform(3, 14), rng.random() < 0.7
    for side, sign in SIDES:
        _bend(pose, f"{side}_hip", about_degrees("x", lean - rng.uniform(86, 92)), about_degrees("y", sign * spread))
        _bend(pose, f"{side}_knee", about_degrees("x", knee + rng.uniform(0, 6)))
        if lap:
            _hands_before(pose, side, sign, rng.uniform(5, 30), rng.uniform(30, 70), rng.uniform(0, 50))
    _bend(pose, "spine1", about_degrees("x", rng.uniform(-5, 10)))
    _bend(pose, "head", about_degrees("x", rng.uniform(-10, 25)), about_degrees("y", rng.uniform(-30, 30)))
    pose = fidget(rng, actor, pose, rng.uniform(0.1, 0.4))
    return _on_seat(_in_place(actor, pose, action), actor.body)


def _on_seat(performance: MotionSequence, body: Body) -> MotionSequence:
    """Shift the performance so that buttocks and thighs press `SINK` metres into z = 0 in the first frame."""
    skin = body.vertices(performance.parameters[:, :1])[0, 0]
    seat = torch.isin(body.weights.argmax(dim=1), torch.tensor(SEAT))
    offset = np.array([0, 0, -SINK_M - float(skin[seat, 2].min())], dtype=np.float32)
    return transform(performance, np.eye(3, dtype=np.float32), offset, body)


def lying(rng: np.random.Generator, actor: Actor, action: str, posture: str) -> MotionSequence:
    """Perform lying on z = 0 with the head towards -y, moving a little.

    `posture` is "back", "belly", "left" or "right".
    """
    pose = _upright(actor)
    roll = {"back": 0.0, "left": 80.0, "right": -80.0, "belly": 180.0}[posture] + rng.uniform(-6, 6)
    pose[:, 0] = SUPINE @ about_degrees("y", roll)
    for side, sign in SIDES:
        _lay_leg(rng, pose, side, sign, posture)
        _lay_arm(rng, pose, side, sign, posture)
    turned = rng.choice([-1, 1]) * rng.uniform(40, 70) if posture == "belly" else rng.uniform(-35, 35)
    for joint in ("neck", "head"):
        _bend(pose, joint, about_degrees("y", turned / 2))
    pose = fidget(rng, actor, pose, rng.uniform(0.02, 0.1))
    return grounded(_in_place(actor, pose, action), actor.body, -SINK_M / 2)


def _lay_leg(rng: np.random.Generator, pose: Tensor, side: str, sign: float, posture: str) -> None:
    """Stretch a leg, or draw up its knee such that the foot stays down; in place."""
    if posture in ("left", "right"):
        flexed, bent, spread = rng.uniform(15, 60), rng.uniform(20, 80), -10.0 * (side != posture)
    else:
        flexed = rng.uniform(20, 50) if posture == "back" and rng.random() < 0.25 else 0.0
        bent, spread = 2 * flexed, rng.uniform(0, 10)
    _bend(pose, f"{side}_hip", about_degrees("z", sign * spread), about_degrees("x", -flexed))
    _bend(pose, f"{side}_knee", about_degrees("x", bent))
    _bend(pose, f"{side}_ankle", about_degrees("x", rng.uniform(5, 35)))


def _lay_arm(rng: np.random.Generator, pose: Tensor, side: str, sign: float, posture: str) -> None:
    """Lay an arm beside the body, over the belly, or before a person who lies on a side; in place."""
    pose[:, JOINT[f"{side}_shoulder"]] = about_degrees("z", -sign * 75.0)
    pose[:, JOINT[f"{side}_elbow"]] = torch.eye(3)
    if posture in ("left", "right"):
        _hands_before(pose, side, sign, rng.uniform(40, 90), rng.uniform(0, 70), 0.0)
    elif posture == "back" and rng.random() < 0.5:
        _hands_before(pose, side, sign, rng.uniform(8, 15), rng.uniform(60, 80), rng.uniform(55, 75))
    else:
        _hands_before(pose, side, sign, rng.uniform(-4, 4), rng.uniform(0, 12), 0.0)
        _bend(pose, f"{side}_shoulder", about_degrees("z", sign * rng.uniform(0, 40)))
