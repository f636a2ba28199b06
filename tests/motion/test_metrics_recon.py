"""MPJPE: identities, and offsets whose error is known."""

import numpy as np
import pytest
import torch

from motion.errors import InputError
from motion.metrics.recon import mpjpe
from motion.skeleton import JOINT, NUM_JOINTS


@pytest.fixture
def joints(rng: np.random.Generator) -> np.ndarray:
    """Two people over five frames."""
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
