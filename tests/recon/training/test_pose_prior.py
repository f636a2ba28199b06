"""Fit of the pose prior: poses spoilt as they say, and a mixture saved with energies of a known scale."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from motion.rotations import matrix_from_axis_angle
from motion.skeleton import JOINT
from recon.pose_prior import JOINTS, axis_angles, load_prior, wrong_bends
from recon.training.pose_prior import PosePriorOptions, save, spoilt_poses


def degrees_between(one: Tensor, other: Tensor) -> Tensor:
    trace = (one.mT @ other).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos())


def test_poses_are_spoilt_as_they_say_and_nowhere_else() -> None:
    poses = matrix_from_axis_angle(0.3 * torch.randn(6, 23, 3))
    spoilt = spoilt_poses(poses, torch.Generator().manual_seed(0))
    away = {name: degrees_between(poses, wrong) for name, wrong in spoilt.items()}
    one_joint = {"knee": "left_knee", "elbow": "left_elbow", "spine": "spine2"}
    for name, turned in away.items():
        joint = one_joint.get(name.split()[0])
        moved = (turned > 0.1).any(dim=0).nonzero()[:, 0].tolist()
        assert moved == (list(range(23)) if joint is None else [JOINT[joint] - 1]), name
    torch.testing.assert_close(away["noise of 40 degrees"], torch.full((6, 23), 40.0), atol=0.1, rtol=0)
    torch.testing.assert_close(away["spine twisted by 70 degrees"][:, 5], torch.full((6,), 70.0), atol=0.1, rtol=0)
    knee = spoilt["knee 50 degrees backward"][:, JOINT["left_knee"] - 1]
    shin = knee @ torch.tensor([0.0, -1.0, 0.0])
    assert (shin[:, 2] > 0.7).all(), "the shin points forward, as no knee bends"


def test_a_saved_mixture_gives_real_poses_low_energies_and_joints_room(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """95 of 100 poses lie below 10; wrists, whose captures hardly move, cost less than elbows for the same turn."""
    vectors = 0.2 * rng.normal(size=(400, 3 * JOINTS))
    vectors[:, 3 * (JOINT["left_wrist"] - 1) :] *= 0.01
    options = PosePriorOptions(asset=tmp_path / "prior.safetensors")
    mixture = GaussianMixture(2, covariance_type="full", reg_covar=1e-3, random_state=0, max_iter=100).fit(vectors)
    save(mixture, vectors, options)
    prior = load_prior(options.asset)
    poses = torch.eye(3).repeat(400, 23, 1, 1)
    poses[:, :JOINTS] = matrix_from_axis_angle(torch.from_numpy(vectors).float().unflatten(1, (JOINTS, 3)))
    energies = prior(poses) - wrong_bends(axis_angles(poses[:, :JOINTS]).flatten(1))
    assert energies.quantile(0.95).item() == pytest.approx(10, abs=0.1)
    assert energies.min() >= 0
    costs = []
    for joint in ("left_wrist", "left_elbow"):
        bent = torch.eye(3).repeat(1, 23, 1, 1)
        bent[0, JOINT[joint] - 1] = matrix_from_axis_angle(torch.tensor([math.radians(30), 0.0, 0.0]))
        costs.append(prior(bent).item() - prior(torch.eye(3).repeat(1, 23, 1, 1)).item())
    assert 0 < costs[0] < costs[1]
