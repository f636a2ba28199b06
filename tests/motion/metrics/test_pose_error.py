"""Errors of reconstructions: identities, invariances, and offsets whose error is known."""

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from motion.metrics.pose_error import (
    acceleration_error,
    floor_error,
    mpjpe,
    pa_mpjpe,
    pve,
    reprojection_error,
    world_mpjpe,
)
from motion.skeleton import JOINT, NUM_JOINTS

INTRINSICS = np.array([[500.0, 0, 320], [0, 600, 240], [0, 0, 1]])
LOOKING_NORTH = np.array([[1.0, 0, 0, 0], [0, 0, -1, 1.5], [0, 1, 0, 2], [0, 0, 0, 1]])  # from (0, -2, 1.5) to +y

seeds = st.integers(0, 2**32 - 1)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    return roma.unitquat_to_rotmat(torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=4)), dim=0)).numpy()


@pytest.fixture
def joints(rng: np.random.Generator) -> np.ndarray:
    """Draw two persons over five frames."""
    return rng.normal(size=(2, 5, NUM_JOINTS, 3)).astype(np.float32)


def test_nothing_differs_from_itself(joints: np.ndarray) -> None:
    assert mpjpe(joints, joints) == 0


def test_the_path_does_not_count(joints: np.ndarray, rng: np.random.Generator) -> None:
    path = rng.normal(size=(2, 5, 1, 3)).astype(np.float32)
    assert mpjpe(joints, joints + path) == pytest.approx(0, abs=1e-6)


def test_one_joint_counts_a_24th(joints: np.ndarray) -> None:
    moved = joints.copy()
    moved[:, :, JOINT["left_wrist"]] += np.array([0.0, 0.3, 0.4], dtype=np.float32)
    assert mpjpe(joints, moved) == pytest.approx(0.5 / NUM_JOINTS, rel=1e-5)


def test_a_moved_pelvis_moves_all_others(joints: np.ndarray) -> None:
    moved = joints.copy()
    moved[:, :, JOINT["pelvis"], 2] += 0.24
    assert mpjpe(joints, moved) == pytest.approx(0.24 * (NUM_JOINTS - 1) / NUM_JOINTS, rel=1e-5)


def test_facing_counts(joints: np.ndarray) -> None:
    half_turn = np.array([-1, -1, 1], dtype=np.float32)
    level = np.linalg.norm((joints - joints[:, :, :1])[..., :2], axis=-1)
    assert mpjpe(joints, joints * half_turn) == pytest.approx(2 * level.mean(), rel=1e-5)


def test_tensors_and_arrays_give_the_same(joints: np.ndarray, rng: np.random.Generator) -> None:
    other = joints + rng.normal(size=joints.shape).astype(np.float32)
    expected = mpjpe(joints, other)
    assert mpjpe(torch.from_numpy(joints), torch.from_numpy(other)) == expected
    assert mpjpe(other, joints) == pytest.approx(expected)
    assert mpjpe(joints[0], torch.from_numpy(other[0])) > 0


def test_other_lengths_are_refused(joints: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\(2, 5, 24, 3\) with \(2, 4, 24, 3\)"):
        mpjpe(joints, joints[:, :4])


@settings(max_examples=30)
@given(seeds, st.floats(0.01, 100))
def test_procrustes_undoes_any_similarity(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    joints, other = rng.normal(size=(2, 3, NUM_JOINTS, 3))
    moved = scale * joints @ random_rotation(rng) + rng.normal(size=(3, 1, 3))
    assert pa_mpjpe(moved, joints) == pytest.approx(0, abs=1e-12)
    assert pa_mpjpe(moved, other) == pytest.approx(pa_mpjpe(joints, other), rel=1e-9)


@settings(max_examples=30)
@given(seeds)
def test_procrustes_agrees_with_roma(seed: int) -> None:
    joints, other = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, NUM_JOINTS, 3)))
    rotation, translation, scale = roma.rigid_points_registration(joints, other, compute_scaling=True)
    aligned = scale * joints @ rotation.mT + translation
    assert pa_mpjpe(joints.numpy(), other.numpy()) == pytest.approx((aligned - other).norm(dim=-1).mean().item())


def test_procrustes_does_not_mirror(joints: np.ndarray) -> None:
    assert pa_mpjpe(joints * np.array([-1, 1, 1], dtype=np.float32), joints) > 0.1


def test_procrustes_of_points_on_a_line_or_in_one_place(joints: np.ndarray) -> None:
    line = np.linspace(0, 1, NUM_JOINTS)[:, None] * np.array([[[1.0, 2.0, 2.0]]])
    assert pa_mpjpe(line, 2 * line @ np.diag([-1.0, 1, 1])) == pytest.approx(0, abs=1e-12)
    centred = joints - joints.mean(axis=-2, keepdims=True)
    size = np.linalg.norm(centred, axis=-1).mean()
    assert pa_mpjpe(np.ones_like(joints), joints) == pytest.approx(size, rel=1e-5)


def test_vertices_count_from_the_pelvis(rng: np.random.Generator) -> None:
    vertices, path = rng.normal(size=(2, 5, 100, 3)), rng.normal(size=(2, 5, 3))
    assert pve(vertices + path[..., None, :], vertices, path, np.zeros_like(path)) == pytest.approx(0, abs=1e-12)
    assert pve(vertices, vertices, path, np.zeros_like(path)) == pytest.approx(np.linalg.norm(path, axis=-1).mean())


@settings(max_examples=30)
@given(seeds)
def test_only_equal_joints_have_no_error_in_the_world(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joints, offset = rng.normal(size=(5, NUM_JOINTS, 3)), rng.normal(size=3)
    assert world_mpjpe(joints, joints.copy()) == 0
    assert world_mpjpe(joints, joints + offset) == pytest.approx(np.linalg.norm(offset))


@settings(max_examples=30)
@given(seeds)
def test_drift_at_constant_velocity_has_no_acceleration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    joints, velocity = rng.normal(size=(7, NUM_JOINTS, 3)), rng.normal(size=3)
    drifting = joints + np.arange(7)[:, None, None] * velocity + rng.normal(size=3)
    assert acceleration_error(drifting, joints, fps=30.0) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("fps", [10.0, 25.0])
def test_a_fall_accelerates_by_gravity(joints: np.ndarray, fps: float) -> None:
    seconds = np.arange(5)[:, None] / fps
    fallen = joints.astype(np.float64)
    fallen[..., 2] -= 9.81 / 2 * seconds**2
    assert acceleration_error(fallen, joints, fps) == pytest.approx(9.81)


def test_what_is_not_valid_may_hold_anything(joints: np.ndarray, rng: np.random.Generator) -> None:
    other = joints + rng.normal(size=joints.shape).astype(np.float32)
    valid = np.ones((2, 5), dtype=np.bool_)
    valid[1, 1] = False
    other[1, 1] = np.nan
    kept = np.concatenate([joints[0], joints[1, [0, 2, 3, 4]]]), np.concatenate([other[0], other[1, [0, 2, 3, 4]]])
    for error in (world_mpjpe, pa_mpjpe):
        assert error(joints, other, valid) == pytest.approx(error(*kept))
    whole = [acceleration_error(joints[0], other[0], 30.0)] * 3 + [
        acceleration_error(joints[1, 2:], other[1, 2:], 30.0)
    ]
    assert acceleration_error(joints, other, 30.0, valid) == pytest.approx(np.mean(whole))
    with pytest.raises(InputError, match="NaN"):
        world_mpjpe(joints, other)
    with pytest.raises(InputError, match="nobody is there"):
        pa_mpjpe(joints, other, np.zeros_like(valid))
    with pytest.raises(InputError, match=r"valid has shape \(2, 4\), .* \(2, 5\)"):
        world_mpjpe(joints, other, valid[:, 1:])


def test_pixels_of_a_joint(joints: np.ndarray) -> None:
    """Two metres ahead at the camera's height is the middle of the image; up is less, right is more."""
    ahead = np.array([[[0.0, 0, 1.5], [1, 0, 1.5], [0, 0, 2.5]]])
    seen = np.array([[[320.0, 240], [570, 240], [320, -60]]])
    visible = np.ones((1, 3), dtype=np.bool_)
    assert reprojection_error(seen, ahead, INTRINSICS, LOOKING_NORTH, visible) == pytest.approx(0, abs=1e-9)
    assert reprojection_error(seen + np.array([3.0, 4.0]), ahead, INTRINSICS, LOOKING_NORTH, visible) == pytest.approx(
        5
    )
    visible[0, 1] = False
    seen[0, 1] = np.nan
    assert reprojection_error(seen, ahead, INTRINSICS, LOOKING_NORTH, visible) == pytest.approx(0, abs=1e-9)


def test_joints_behind_the_camera_are_refused() -> None:
    joints, visible = np.array([[0.0, -3, 1], [0, 0, 1]]), np.array([True, True])
    with pytest.raises(InputError, match="1 of 2 visible joints lie behind the camera"):
        reprojection_error(np.zeros((2, 2)), joints, INTRINSICS, LOOKING_NORTH, visible)
    with pytest.raises(InputError, match="do not belong together"):
        reprojection_error(np.zeros((1, 2)), joints, INTRINSICS, LOOKING_NORTH, visible)


@settings(max_examples=30)
@given(seeds, st.floats(0, 90), st.floats(-2, 2), st.sampled_from([-3.0, -1.0, 0.5, 2.0]))
def test_a_tilted_and_raised_floor(seed: int, degrees: float, raised: float, scale: float) -> None:
    """A plane may be written in many ways, which must not matter."""
    turn = random_rotation(np.random.default_rng(seed))
    tilted = np.array([np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees))])
    angle, height = floor_error(scale * turn @ tilted, scale * (1.5 + raised), turn @ np.array([0.0, 0, 1]), 1.5)
    assert angle == pytest.approx(degrees, abs=1e-6)
    if degrees < 89.999:
        assert height == pytest.approx(abs(raised), abs=1e-9)


def test_a_plane_without_direction_is_refused() -> None:
    with pytest.raises(InputError, match="expected a direction"):
        floor_error(np.zeros(3), 1.0, np.ones(3), 1.0)


def test_comparing_other_people_or_too_few_frames_is_refused(joints: np.ndarray) -> None:
    for error in (pa_mpjpe, world_mpjpe):
        with pytest.raises(InputError, match=r"\(2, 5, 24, 3\) with \(1, 5, 24, 3\)"):
            error(joints, joints[:1])
    with pytest.raises(InputError, match="expected 3 frames"):
        acceleration_error(joints[:, :2], joints[:, :2], 30.0)
