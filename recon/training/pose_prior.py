"""Training of `recon/assets/pose_prior.safetensors`, in a few minutes.

    python -m recon.training.pose_prior --output recon/assets/pose_prior.safetensors --cmu FOLDER

FOLDER holds CMU's captures as BVH files. A Gaussian mixture is fitted by EM to the axis-angles of 21 joints; poses of
captured and composed clips count alike. Prints how well energies separate held-out poses from the same ones spoilt.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture
from torch import Tensor

from motion.body import load_body
from motion.errors.command_line import run
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import JOINT, JOINT_NAMES
from motion.smpl_parameters import mirrored_rotations
from motion.weights import save_weights
from recon.pose_prior import FORMAT, JOINTS, Mixture, PosePrior, axis_angles, load_prior
from recon.training.poses import PoseClip, read_poses

MOST_POSES = 50  # of a clip, so that minutes of walking do not outvote the rest
COMPONENTS = 12
SHRINKAGE = 0.1  # of the covariances towards their diagonals
SPREAD_RAD = 0.12  # added to all joints, for persons move in more ways than were captured
# Radians added to joints whose captures lack movement.
UNSEEN_SPREAD_RAD = {"wrist": 0.4, "foot": 0.2, "collar": 0.15, "head": 0.2}
REAL_ENERGY = 10.0  # energy below which 95 of 100 poses lie


@dataclass(frozen=True)
class PosePriorOptions:
    """Command that fits the pose prior."""

    output: Path
    """File that receives the mixture; recon/assets/pose_prior.safetensors is the one that ships."""
    cmu: Path | None = None
    """Folder of CMU's BVH files; without it only DeepMimic's clips are learnt from."""
    composed: int = 600
    """Number of clips composed of postures of a care room."""


def train(options: PosePriorOptions) -> None:
    """Fit the mixture, save it, and print energies of held-out poses."""
    clips = read_poses(options.cmu, options.composed, load_body())
    learnt = [clip for clip in clips if not clip.held_out]
    captured, composed = (_vectors([clip for clip in learnt if clip.composed == kind]) for kind in (False, True))
    fewest = min(len(captured), len(composed))
    rng = np.random.default_rng(0)
    vectors = np.concatenate([some[rng.permutation(len(some))[:fewest]] for some in (captured, composed)])
    mixture = GaussianMixture(COMPONENTS, reg_covar=1e-3, max_iter=150, random_state=0)
    save(mixture.fit(vectors), vectors, options)
    prior = load_prior(options.output)
    for kind in (False, True):
        held_out = [clip for clip in clips if clip.held_out and clip.composed == kind]
        report(prior, torch.cat([_poses(clip) for clip in held_out]), "composed" if kind else "captured")


def report(prior: PosePrior, poses: Float[Tensor, "pose 23 3 3"], name: str) -> None:
    """Print energies of real poses, and the area under the ROC curve against each way to spoil them."""
    real = prior(poses)
    quantiles = ", ".join(f"{float(value):.1f}" for value in real.quantile(torch.tensor([0.05, 0.5, 0.95])))
    print(f"{name}: {len(poses)} poses, energies at 5, 50 and 95 %: {quantiles}")
    for spoil, spoilt in spoilt_poses(poses, torch.Generator().manual_seed(0)).items():
        wrong = prior(spoilt)
        truth = np.r_[np.zeros(len(real)), np.ones(len(wrong))]
        area = roc_auc_score(truth, torch.cat([real, wrong]).numpy())
        print(f"    {spoil}: AUC {area:.3f}, median energy {float(wrong.median()):.1f}")


def spoilt_poses(
    poses: Float[Tensor, "pose 23 3 3"], generator: torch.Generator
) -> dict[str, Float[Tensor, "pose 23 3 3"]]:
    """Make each pose implausible: joints bent the wrong way, a spine twisted, noise on all joints."""
    noise = np.radians(40) * torch.nn.functional.normalize(
        torch.randn(*poses.shape[:2], 3, generator=generator), dim=-1
    )
    return {
        "knee 50 degrees backward": _bent(poses, "left_knee", (-50.0, 0.0, 0.0)),
        "elbow 60 degrees backward": _bent(poses, "left_elbow", (0.0, 60.0, 0.0)),
        "spine twisted by 70 degrees": _turned(poses, "spine2", (0.0, 70.0, 0.0)),
        "noise of 40 degrees": poses @ matrix_from_axis_angle(noise),
    }


def _bent(poses: Tensor, joint: str, degrees: tuple[float, float, float]) -> Tensor:
    poses = poses.clone()
    poses[:, JOINT[joint] - 1] = matrix_from_axis_angle(torch.deg2rad(torch.tensor(degrees)))
    return poses


def _turned(poses: Tensor, joint: str, degrees: tuple[float, float, float]) -> Tensor:
    poses = poses.clone()
    poses[:, JOINT[joint] - 1] @= matrix_from_axis_angle(torch.deg2rad(torch.tensor(degrees)))
    return poses


def _poses(clip: PoseClip) -> Float[Tensor, "pose 23 3 3"]:
    """Take some poses, evenly over the clip, and their mirror images."""
    some = clip.rotations[:: -(-len(clip.rotations) // MOST_POSES)]
    return torch.cat([some, mirrored_rotations(some)])[:, 1:]


def _vectors(clips: list[PoseClip]) -> Float[np.ndarray, "pose 63"]:
    poses = torch.cat([_poses(clip)[:, :JOINTS] for clip in clips])
    return axis_angles(poses).flatten(1).double().numpy()


def save(mixture: GaussianMixture, vectors: Float[np.ndarray, "pose 63"], options: PosePriorOptions) -> None:
    """Write the asset: covariances shrunk and widened, the energy scaled so that real poses lie below `REAL_ENERGY`."""
    unseen = [UNSEEN_SPREAD_RAD.get(name.split("_")[-1], 0.0) for name in JOINT_NAMES[1 : JOINTS + 1]]
    least = np.repeat(SPREAD_RAD**2 + np.square(unseen), 3)
    diagonals = np.stack([np.diag(np.diag(c)) for c in mixture.covariances_])
    covariances = (1 - SHRINKAGE) * mixture.covariances_ + SHRINKAGE * diagonals + np.diag(least)
    factors = np.linalg.cholesky(np.linalg.inv(covariances))
    log_weights = np.log(mixture.weights_) - np.linalg.slogdet(covariances)[1] / 2
    tensors = {"means": mixture.means_, "factors": factors, "log_weights": log_weights}
    stored = {name: torch.from_numpy(np.ascontiguousarray(a)).float() for name, a in tensors.items()}
    unscaled = Mixture(**stored, lowest=0.0, scale=1.0)
    lowest = float(unscaled.negative_log_likelihood(stored["means"]).min())
    typical = unscaled.negative_log_likelihood(torch.from_numpy(vectors).float()).quantile(0.95)
    scale = REAL_ENERGY / (float(typical) - lowest)
    description = {"components": len(log_weights), "lowest": lowest, "scale": scale}
    described = description | {"poses": len(vectors), "cmu": options.cmu is not None}
    save_weights(options.output, stored, FORMAT, described)


if __name__ == "__main__":
    run(train, PosePriorOptions, __doc__)
