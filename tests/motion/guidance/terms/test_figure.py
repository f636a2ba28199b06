"""Bodies as the energies see them: the same capsules as those that are measured."""

import numpy as np
import torch

from motion.body import load_body
from motion.body.capsules import BEFORE_ENDS, ENDS, fit_capsules
from motion.guidance.terms import BodyShape, Figure
from motion.skeleton import JOINT
from tests.helpers.clips import random_clip

BODY = load_body()


def figure(joints: torch.Tensor, betas: torch.Tensor) -> Figure:
    valid = torch.ones(joints.shape[:3], dtype=torch.bool)
    return Figure(joints, joints, BodyShape.of(BODY, betas), valid)


def test_capsules_are_those_of_the_metrics_for_persons_of_any_shape() -> None:
    clips = [random_clip(BODY, persons=2, frames=3, seed=seed) for seed in range(2)]
    joints, betas = (
        torch.from_numpy(np.stack([getattr(clip, name) for clip in clips])) for name in ("joints", "betas")
    )
    found = figure(joints, betas)
    starts, ends = found.capsules()
    for sample, clip in enumerate(clips):
        expected = fit_capsules(clip.joints, clip.betas, BODY)
        np.testing.assert_allclose(starts[sample], expected.starts, atol=1e-5)
        np.testing.assert_allclose(ends[sample], expected.ends, atol=1e-5)
        np.testing.assert_allclose(found.body_shape.radii[sample], expected.radii, atol=1e-6)


def test_feet_are_as_high_over_the_sole_as_in_the_mesh() -> None:
    betas = torch.zeros(1, 1, 10)
    betas[..., 0] = 2.0
    shape = BodyShape.of(BODY, betas)
    skin = BODY.v_template + BODY.shapedirs @ betas[0, 0]
    ankle, foot = (shape.rest_joints[0, 0, JOINT[name], 1] - skin[:, 1].min() for name in ("left_ankle", "left_foot"))
    torch.testing.assert_close(shape.foot_heights[0, 0, :2], torch.stack([ankle, foot]))
    assert 0 < foot < ankle < 0.2


def test_ends_are_linear_in_the_joints_and_a_bone_of_no_length_points_nowhere() -> None:
    """A joint that moves along its bone takes the end along as if the bone could stretch: 1 + beyond / length."""
    clip = random_clip(BODY, persons=1, frames=1)
    joints = torch.from_numpy(clip.joints)[None].requires_grad_()
    body = figure(joints, torch.from_numpy(clip.betas)[None])
    capsule = int(body.body_shape.beyond[0, 0].argmax())
    before, last = BEFORE_ENDS[capsule], ENDS[capsule]
    bone = joints.detach()[0, 0, 0, last] - joints.detach()[0, 0, 0, before]
    body.capsules()[1][0, 0, 0, capsule].backward(bone / bone.norm())
    assert joints.grad is not None
    moved = (joints.grad[0, 0, 0] @ bone) / bone.norm()
    stretched = body.body_shape.beyond[0, 0, capsule] / bone.norm()
    torch.testing.assert_close(moved[last], 1 + stretched)
    torch.testing.assert_close(moved.sum(), torch.tensor(1.0))
    folded = figure(torch.zeros(1, 1, 1, 24, 3), torch.zeros(1, 1, 10))
    assert all(torch.equal(each, torch.zeros(1, 1, 1, 24, 3)) for each in folded.capsules())
