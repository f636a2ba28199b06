"""Forward kinematics and the closed-form root orientation."""

import roma
import torch

from motion.body import load_body
from motion.kinematics import forward_kinematics, root_orientation
from motion.rotations import matrix_from_axis_angle, matrix_to_axis_angle, slerp

REST = load_body().rest_joints(torch.zeros(10))
STILL = torch.eye(3).expand(23, 3, 3)


def test_rest_pose_is_the_rest_skeleton() -> None:
    joints, rotations = forward_kinematics(REST, torch.zeros(3), torch.eye(3), STILL)
    torch.testing.assert_close(joints, REST)
    torch.testing.assert_close(rotations, torch.eye(3).expand(24, 3, 3))


def test_equivariance() -> None:
    """Turning the root turns all joints about the rest pelvis; shifting shifts them."""
    pose, turn = roma.random_rotmat(23), roma.random_rotmat()
    joints, _ = forward_kinematics(REST, torch.zeros(3), torch.eye(3), pose)
    shift = torch.tensor([1.0, 2.0, 3.0])
    moved, _ = forward_kinematics(REST, shift, turn, pose)
    torch.testing.assert_close(moved, (joints - REST[0]) @ turn.mT + REST[0] + shift, atol=1e-5, rtol=0)


def test_root_orientation_is_exact_and_indifferent_to_the_limbs() -> None:
    rest, turn = REST.expand(200, 24, 3), roma.random_rotmat(200)
    joints, _ = forward_kinematics(rest, torch.randn(200, 3), turn, roma.random_rotmat(200 * 23).view(200, 23, 3, 3))
    assert roma.rotmat_geodesic_distance(root_orientation(joints, rest), turn).max() < 2e-3


def test_root_orientation_is_stable_under_noise() -> None:
    """1 mm of noise on the joints turns the pelvis by no more than about a degree on average."""
    rest, turn = REST.expand(200, 24, 3), roma.random_rotmat(200)
    joints, _ = forward_kinematics(rest, torch.zeros(200, 3), turn, STILL.expand(200, 23, 3, 3))
    noisy = joints + 1e-3 * torch.randn_like(joints)
    error = roma.rotmat_geodesic_distance(root_orientation(noisy, rest), turn)
    assert error.mean() < 0.025


def test_axis_angle_round_trip_and_slerp_ends() -> None:
    rotations = roma.random_rotmat(50)
    torch.testing.assert_close(matrix_from_axis_angle(matrix_to_axis_angle(rotations)), rotations, atol=1e-5, rtol=0)
    other = roma.random_rotmat(50)
    torch.testing.assert_close(slerp(rotations, other, torch.zeros(50)), rotations, atol=1e-5, rtol=0)
    torch.testing.assert_close(slerp(rotations, other, torch.ones(50)), other, atol=1e-4, rtol=0)
    half = slerp(rotations, other, torch.full((50,), 0.5))
    torch.testing.assert_close(
        roma.rotmat_geodesic_distance(rotations, half),
        roma.rotmat_geodesic_distance(half, other),
        atol=1e-3,
        rtol=0,
    )
