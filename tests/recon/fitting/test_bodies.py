"""Bodies of a fit: their points, which rotations are free, and how deep keypoints lie below the skin."""

from dataclasses import replace

import pytest
import torch

from motion.body import load_body
from motion.rotations import matrix_from_axis_angle, matrix_to_6d
from motion.skeleton import JOINT
from recon.fitting.bodies import FittedBodies, balls, free_6d, with_free_6d
from recon.keypoints import body_keypoints
from recon.people import People
from tests.helpers.fitted_motions import both, clip, standing_at

BODY = load_body()
NAMES = ("nose", "left_wrist", "right_big_toe")
JOINTS = ("left_shoulder", "left_elbow", "left_wrist", "right_knee", "right_ankle")


@pytest.fixture(scope="module")
def walkers() -> People:
    walker = clip("walk", 5.0)
    tall = replace(walker, betas=walker.betas + torch.tensor([1.5] + 9 * [0.0]))
    return both(walker, standing_at(tall, 1.0, 0.5))


def test_posed_points_are_those_of_the_body(walkers: People) -> None:
    posed = FittedBodies.of(walkers, BODY, NAMES).posed(walkers.transl, walkers.rotations, walkers.betas)
    torch.testing.assert_close(posed.joints, walkers.joints(BODY))
    torch.testing.assert_close(posed.keypoints, walkers.keypoints(BODY, body_keypoints(BODY, NAMES)))
    soles = ("left_heel", "left_big_toe", "left_small_toe", "right_heel", "right_big_toe", "right_small_toe")
    torch.testing.assert_close(posed.soles, walkers.keypoints(BODY, body_keypoints(BODY, soles)))


def test_joints_lie_as_deep_as_a_tube_through_the_skin_is_long(walkers: People) -> None:
    """Nose and toe are points of the skin; a quarter of the directions from a wrist meet the skin before 2.5 cm."""
    names = ("nose", "right_big_toe", *JOINTS)
    radius = FittedBodies.of(walkers, BODY, names).keypoint_radius
    directions = torch.randn(400, 3, generator=torch.Generator().manual_seed(1))
    directions /= directions.norm(dim=1, keepdim=True)
    for name, found in zip(names, radius.tolist(), strict=True):
        if name not in JOINTS:
            assert found == 0
            continue
        offset = BODY.v_template - BODY.joint_template[JOINT[name]]
        along = offset @ directions.T
        near = (offset.square().sum(dim=1, keepdim=True) - along.square() < 0.008**2) & (along > 0)
        long = torch.where(near, along, torch.inf).amin(dim=0)
        assert found == pytest.approx(long.quantile(0.25).item(), abs=0.008), name  # vertices are a centimetre apart
    assert radius[names.index("left_wrist")].item() == pytest.approx(0.025, abs=0.002)


def test_sizes_are_relative_to_the_mean_shape(walkers: People) -> None:
    bodies = FittedBodies.of(walkers, BODY, NAMES)
    mean, tall = bodies.sizes(torch.tensor([10 * [0.0], [1.5] + 9 * [0.0]])).flatten().tolist()
    assert mean == pytest.approx(1)
    heights = [BODY.rest_joints(torch.tensor([first] + 9 * [0.0]))[[7, 15], 1].diff().item() for first in (0.0, 1.5)]
    assert tall == pytest.approx(heights[1] / heights[0], rel=0.05)


def test_balls_sit_at_a_quarter_and_three_quarters_of_each_bone(walkers: People) -> None:
    joints = walkers.joints(BODY)[:, 0]
    found = balls(joints)
    hip, knee = joints[:, JOINT["left_hip"]], joints[:, JOINT["left_knee"]]
    for share in (0.25, 0.75):
        wanted = (1 - share) * hip + share * knee
        assert ((found - wanted[:, None]).norm(dim=-1).min(dim=1).values < 1e-5).all()
    head = joints[:, JOINT["head"]]
    assert ((found - head[:, None]).norm(dim=-1) < 1e-6).sum(dim=1).tolist() == [2, 2]
    radii = FittedBodies.of(walkers, BODY, NAMES).ball_radii
    assert radii.shape == found.shape[:2]
    assert (radii[1] > 0.9 * radii[0]).all()


def test_hands_and_toes_keep_their_rotations(walkers: People) -> None:
    turned = matrix_from_axis_angle(0.3 * torch.randn(2, walkers.valid.shape[1], 24, 3))
    frozen = [JOINT[name] for name in ("left_foot", "right_foot", "left_hand", "right_hand")]
    free = [joint for joint in range(24) if joint not in frozen]
    found = with_free_6d(walkers.rotations, matrix_to_6d(turned[:, :, free]))
    torch.testing.assert_close(found[:, :, free], turned[:, :, free])
    assert torch.equal(found[:, :, frozen], walkers.rotations[:, :, frozen])
    torch.testing.assert_close(with_free_6d(walkers.rotations, free_6d(walkers)), walkers.rotations)
