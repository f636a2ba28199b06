"""Fit of the pose prior: poses spoilt as they say, and a mixture saved with energies of a known scale."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
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


def restated(vectors: np.ndarray, mixture: GaussianMixture) -> np.ndarray:
    """Compute the negative log likelihood of a mixture with a tenth less covariance, and room for all joints."""
    room = np.full((JOINTS, 3), 0.12**2)
    for name, radians in (("wrist", 0.4), ("foot", 0.2), ("collar", 0.15), ("head", 0.2)):
        room[[JOINT[joint] - 1 for joint in JOINT if joint.split("_")[-1] == name]] += radians**2
    densities = []
    for weight, mean, covariance in zip(mixture.weights_, mixture.means_, mixture.covariances_, strict=True):
        widened = 0.9 * covariance + 0.1 * np.diag(np.diag(covariance)) + np.diag(room.ravel())
        densities.append(np.log(weight) + multivariate_normal(mean, widened).logpdf(vectors))
    return -logsumexp(densities, axis=0)


def test_a_saved_mixture_gives_the_energies_of_its_likelihood(tmp_path: Path, rng: np.random.Generator) -> None:
    """One of two ways to hold oneself is four times as varied as the other; 95 of 100 poses lie below 10."""
    vectors = np.concatenate([0.4 * rng.normal(size=(300, 3 * JOINTS)), 0.7 + 0.1 * rng.normal(size=(100, 3 * JOINTS))])
    options = PosePriorOptions(output=tmp_path / "prior.safetensors")
    mixture = GaussianMixture(2, reg_covar=1e-3, random_state=0).fit(vectors)
    save(mixture, vectors, options)
    poses = torch.eye(3).repeat(400, 23, 1, 1)
    poses[:, :JOINTS] = matrix_from_axis_angle(torch.from_numpy(vectors).float().unflatten(1, (JOINTS, 3)))
    energies = (load_prior(options.output)(poses) - wrong_bends(axis_angles(poses[:, :JOINTS]).flatten(1))).numpy()
    assert np.quantile(energies, 0.95) == pytest.approx(10, abs=0.1)
    assert energies.min() >= 0
    expected = restated(vectors, mixture)
    scale = (energies.max() - energies.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(energies - energies.min(), scale * (expected - expected.min()), atol=0.02)
