"""Pose priors: ours on held-out poses, and the files of SMPLify and VPoser, made up here."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from motion.body import load_body
from motion.datasets import deepmimic
from motion.errors import InputError
from motion.rotations import matrix_from_6d, matrix_from_axis_angle
from motion.smpl_parameters import mirrored_rotations
from recon.pose_prior import VPOSER_LAYERS, Mixture, PosePrior, axis_angles, load_prior
from recon.training.pose_prior import spoilt_poses
from recon.training.poses import HELD_OUT

REST = torch.eye(3).repeat(1, 23, 1, 1)
HALF_TURNS = matrix_from_axis_angle(torch.tensor([math.pi, 0.0, 0.0]).repeat(1, 23, 1))


@pytest.fixture(scope="module")
def unseen_poses() -> Float[Tensor, "pose 23 3 3"]:
    """Take poses of the two clips of DeepMimic that nothing learnt from."""
    clips = [clip for clip in deepmimic.list_clips() if clip.id in HELD_OUT]
    body = load_body()
    return torch.cat([torch.from_numpy(deepmimic.read_clip(clip, body).body_pose[0]) for clip in clips])


@pytest.fixture
def random_poses() -> Float[Tensor, "5 23 3 3"]:
    return matrix_from_axis_angle(0.5 * torch.randn(5, 23, 3))


def write_mixture(path: Path, rng: np.random.Generator, **other: object) -> dict[str, np.ndarray]:
    """Write a file like gmm_08.pkl."""
    roots = rng.normal(size=(8, 69, 69)) / 10
    content = {
        "means": rng.normal(size=(8, 69)) / 5,
        "covars": roots @ roots.mT + np.eye(69) / 10,
        "weights": rng.dirichlet(np.ones(8)),
    }
    path.write_bytes(pickle.dumps(content | other))
    return content


class Reference(nn.Module):
    """VPoser v2 as its paper describes it, with the names of its file."""

    def __init__(self) -> None:
        super().__init__()
        normal = nn.ModuleDict({"mu": nn.Linear(512, 32), "logvar": nn.Linear(512, 32)})
        first = (nn.Flatten(), nn.BatchNorm1d(63), nn.Linear(63, 512), nn.LeakyReLU(), nn.BatchNorm1d(512))
        self.encoder_net = nn.ModuleList([*first, nn.Dropout(0.1), nn.Linear(512, 512), nn.Linear(512, 512), normal])
        self.decoder_net = nn.Sequential(
            *(nn.Linear(32, 512), nn.LeakyReLU(), nn.Dropout(0.1), nn.Linear(512, 512), nn.LeakyReLU()),
            nn.Linear(512, 126),
        )
        for layer in self.encoder_net:
            if isinstance(layer, nn.BatchNorm1d):
                nn.init.uniform_(layer.running_var, 0.5, 2.0)  # type: ignore[arg-type]
                nn.init.normal_(layer.running_mean)  # type: ignore[arg-type]

    def forward(self, poses: Tensor) -> Tensor:
        hidden = roma.rotmat_to_rotvec(poses)
        for layer in list(self.encoder_net)[:-1]:
            hidden = layer(hidden)
        code = self.encoder_net[-1]["mu"](hidden)  # type: ignore[index]
        decoded = matrix_from_6d(self.decoder_net(code).unflatten(1, (21, 6)))
        return code.square().sum(dim=1) / 2 + (decoded - poses).square().sum(dim=(1, 2, 3))


def write_vposer(path: Path, prefix: str) -> Reference:
    network = Reference().eval()
    torch.save({"state_dict": {prefix + key: value for key, value in network.state_dict().items()}}, path)
    return network


def test_real_poses_have_low_energies(unseen_poses: Tensor) -> None:
    energies = load_prior()(unseen_poses)
    assert energies.min() >= 0
    assert energies.median() < 10
    assert energies.max() < 17


def test_spoilt_poses_have_higher_energies(unseen_poses: Tensor) -> None:
    prior = load_prior()
    real = prior(unseen_poses)
    for name, spoilt in spoilt_poses(unseen_poses, torch.Generator().manual_seed(0)).items():
        wrong = prior(spoilt)
        truth = np.r_[np.zeros(len(real)), np.ones(len(wrong))]
        assert roc_auc_score(truth, torch.cat([real, wrong]).numpy()) > 0.95, name


def test_left_and_right_are_alike(unseen_poses: Tensor) -> None:
    whole = torch.cat([torch.eye(3).expand(len(unseen_poses), 1, 3, 3), unseen_poses], dim=1)
    prior = load_prior()
    assert (prior(mirrored_rotations(whole)[:, 1:]) - prior(unseen_poses)).abs().median() < 1.0


@pytest.mark.parametrize("kind", ["default", "smplify", "vposer"])
@pytest.mark.parametrize("poses", [REST, HALF_TURNS], ids=["rest", "half turns"])
def test_gradients_are_finite(kind: str, poses: Tensor, tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / ("gmm.pkl" if kind == "smplify" else "vposer.ckpt")
    write_mixture(tmp_path / "gmm.pkl", rng)
    write_vposer(tmp_path / "vposer.ckpt", "vp_model.")
    prior = load_prior("default" if kind == "default" else path)
    assert isinstance(prior, PosePrior)
    pose = poses.clone().requires_grad_()
    energy = prior(pose)
    energy.sum().backward()
    assert energy.isfinite().all()
    assert pose.grad is not None
    assert pose.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences() -> None:
    vectors = torch.randn(3, 63).double().requires_grad_()
    prior = load_prior()
    assert isinstance(prior, Mixture)
    assert torch.autograd.gradcheck(prior.negative_log_likelihood, vectors, fast_mode=True)


def test_going_down_the_gradient_mends_a_pose(unseen_poses: Tensor) -> None:
    prior = load_prior()
    vectors = axis_angles(spoilt_poses(unseen_poses[:4], torch.Generator().manual_seed(0))["noise of 40 degrees"])
    vectors.requires_grad_()
    optimizer = torch.optim.Adam([vectors], 0.05)
    before = float(prior(matrix_from_axis_angle(vectors)).sum().detach())
    for _ in range(40):
        optimizer.zero_grad()
        energy = prior(matrix_from_axis_angle(vectors)).sum()
        energy.backward()
        optimizer.step()
    assert float(energy.detach()) < 0.5 * before


@settings(max_examples=50)
@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=3, max_size=3))
def test_axis_angles_come_back(vector: list[float]) -> None:
    expected = torch.tensor(vector)
    assert torch.allclose(axis_angles(matrix_from_axis_angle(expected)), expected, atol=1e-4)


def test_smplify_energy_is_its_definition(tmp_path: Path, rng: np.random.Generator, random_poses: Tensor) -> None:
    content = write_mixture(tmp_path / "gmm_08.pkl", rng)
    vectors = roma.rotmat_to_rotvec(random_poses).flatten(1).double().numpy()
    roots = np.sqrt(np.linalg.det(content["covars"]))
    weights = content["weights"] / ((2 * np.pi) ** (69 / 2) * roots / roots.min())
    apart = vectors[:, None] - content["means"]
    distance = np.einsum("nki,kij,nkj->nk", apart, np.linalg.inv(content["covars"]), apart)
    expected = (distance / 2 - np.log(weights)).min(axis=1)
    found = load_prior(tmp_path / "gmm_08.pkl")(random_poses)
    assert np.allclose(found.numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("prefix", ["vp_model.", ""])
def test_vposer_energy_is_its_network(prefix: str, tmp_path: Path, random_poses: Tensor) -> None:
    network = write_vposer(tmp_path / "V02_05.ckpt", prefix)
    found = load_prior(tmp_path / "V02_05.ckpt")(random_poses)
    assert torch.allclose(found, network(random_poses[:, :21]).detach(), rtol=1e-4)


def _no_prior(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(rng.bytes(100))


def _other_shape(path: Path, rng: np.random.Generator) -> None:
    write_mixture(path, rng, means=rng.normal(size=(8, 63)))


def _no_weights(path: Path, rng: np.random.Generator) -> None:
    write_mixture(path, rng, weights="none")


def _no_share(path: Path, rng: np.random.Generator) -> None:
    write_mixture(path, rng, weights=np.r_[-0.5, np.ones(7) / 4])


def _not_numbers(path: Path, rng: np.random.Generator) -> None:
    state = Reference().state_dict()
    state["decoder_net.5.bias"][3] = torch.nan
    torch.save({"state_dict": state}, path)


def _flat(path: Path, rng: np.random.Generator) -> None:
    write_mixture(path, rng, covars=np.zeros((8, 69, 69)))


def _small_network(path: Path, rng: np.random.Generator) -> None:
    keys = [f"vp_model.{layer}.weight" for layer in VPOSER_LAYERS]
    torch.save({"state_dict": {key: torch.zeros(3) for key in keys}}, path)


def _no_state(path: Path, rng: np.random.Generator) -> None:
    torch.save({"model": {}}, path)


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("a.pkl", _no_prior, "damaged|not a pickle"),
        ("a.pkl", _other_shape, r"means of shape \(8, 63\)"),
        ("a.pkl", _no_weights, "no finite numbers 'weights'"),
        ("a.pkl", _no_share, "weights down to -0.5, expected positive"),
        ("a.pkl", _flat, "not positive definite"),
        ("a.ckpt", _no_prior, "damaged"),
        ("a.ckpt", _small_network, r"encoder_net.1.weight of shape \(3,\), expected \(63,\)"),
        ("a.ckpt", _not_numbers, "NaN or infinity in decoder_net.5.bias"),
        ("a.ckpt", _no_state, "no weights 'state_dict'"),
        ("a.safetensors", _no_prior, "damaged"),
        ("a.txt", _no_prior, "no pose prior"),
    ],
)
def test_a_bad_file_is_a_sentence(
    name: str,
    write: Callable[[Path, np.random.Generator], None],
    sentence: str,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    write(tmp_path / name, rng)
    with pytest.raises(InputError, match=sentence):
        load_prior(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pkl", "a.ckpt", "a.safetensors"])
def test_a_missing_file_is_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name):
        load_prior(tmp_path / name)
