"""Authored poses: who stands, sits or lies does so as the word says, for persons of any size."""

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.clips.ground import lowest_skin
from motion.skeleton import ACTIONS, JOINT
from recon.simulate.performances import Actor
from recon.simulate.poses import lying, sitting, standing

BODY = load_body()


def actor(size: float = 0.0) -> Actor:
    betas = torch.zeros(10)
    betas[0] = size
    return Actor(BODY, betas, 5.0, 4)


def chest(joints: np.ndarray) -> np.ndarray:
    """Compute the direction in which the chest looks, from shoulders and spine, for each frame."""
    left, right, neck, pelvis = (
        joints[0, :, JOINT[name]] for name in ("left_shoulder", "right_shoulder", "neck", "pelvis")
    )
    ahead = np.cross(left - right, neck - pelvis)
    return ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", [-2.0, 2.0])
def test_who_stands_is_on_the_floor_and_faces_y(size: float, rng: np.random.Generator) -> None:
    found = standing(rng, actor(size))
    np.testing.assert_allclose(lowest_skin(found, BODY), 0, atol=1e-4)
    assert chest(found.joints)[0, 1] > 0.9
    heights = found.joints[0, :, [JOINT["left_ankle"], JOINT["pelvis"], JOINT["head"]], 2]
    assert (np.diff(heights, axis=0) > 0.3).all()
    assert {ACTIONS[action] for action in found.action[0]} == {"standing_on_floor"}


def test_who_bows_has_the_head_lower_and_before_the_feet(rng: np.random.Generator) -> None:
    upright, bowed = (standing(np.random.default_rng(1), actor(), bow) for bow in (0.0, 75.0))
    head, feet = (lambda m: m.joints[0, :, JOINT["head"]]), (lambda m: m.joints[0, :, JOINT["left_ankle"]])
    assert (head(bowed)[:, 2] < head(upright)[:, 2] - 0.05).all()
    assert ((head(bowed) - feet(bowed))[:, 1] > (head(upright) - feet(upright))[:, 1] + 0.1).all()


@pytest.mark.parametrize("height", [0.0, 0.45])
@pytest.mark.parametrize("size", [-1.5, 1.5])
def test_who_sits_presses_the_seat_and_no_foot_is_below_the_floor(height: float, size: float) -> None:
    """Knees are stretched as far as needed on a low seat; in bed they lie before the body."""
    found = sitting(np.random.default_rng(2), actor(size), "sitting_in_chair", height, lean=0.0)
    skin = BODY.vertices(found.parameters)[0, 0]
    thighs = torch.isin(
        BODY.weights.argmax(dim=1), torch.tensor([JOINT[n] for n in ("pelvis", "left_hip", "right_hip")])
    )
    assert skin[thighs, 2].min().item() == pytest.approx(-0.03, abs=1e-3)
    assert lowest_skin(found, BODY)[0, 0] > -height - 0.061
    assert found.joints[0, 0, JOINT["head"], 2] > 0.4
    knees = found.joints[0, 0, [JOINT["left_knee"], JOINT["right_knee"]], 1]
    assert (knees > found.joints[0, 0, 0, 1] + 0.25).all(), "knees are before the pelvis"
    assert {ACTIONS[action] for action in found.action[0]} == {"sitting_in_chair"}


def test_who_leans_back_has_the_head_behind() -> None:
    straight, back = (
        sitting(np.random.default_rng(2), actor(), "sitting_in_chair", 0.45, lean) for lean in (0.0, 35.0)
    )
    behind = [m.joints[0, 0, JOINT["neck"], 1] - m.joints[0, 0, 0, 1] for m in (straight, back)]
    spine = np.linalg.norm(back.joints[0, 0, JOINT["neck"]] - back.joints[0, 0, 0])
    assert np.degrees(np.arcsin((behind[0] - behind[1]) / spine)) == pytest.approx(35, abs=8)


@pytest.mark.parametrize("posture", ["back", "belly", "left", "right"])
def test_who_lies_lies_on_that_side_with_the_head_towards_minus_y(posture: str) -> None:
    for seed in range(4):
        found = lying(np.random.default_rng(seed), actor(), "laying_in_bed", posture)
        np.testing.assert_allclose(lowest_skin(found, BODY), -0.015, atol=1e-4)
        joints = found.joints[0]
        assert (joints[:, JOINT["head"], 1] < joints[:, 0, 1] - 0.4).all()
        assert joints[:, JOINT["head"], 2].max() < 0.5
        up, across = (
            chest(found.joints)[:, 2],
            joints[:, JOINT["left_shoulder"], 2] - joints[:, JOINT["right_shoulder"], 2],
        )
        side = {"back": up, "belly": -up, "left": -4 * across, "right": 4 * across}[posture]
        assert (side > 0.7).all()
        assert {ACTIONS[action] for action in found.action[0]} == {"laying_in_bed"}
