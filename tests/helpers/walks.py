"""Gaussian of walks with its exact denoiser, and the terms that tests ask of it."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import roma
import torch
from torch import Tensor

from motion.body import load_body
from motion.body.capsules import Capsules, fit_capsules
from motion.clips import transforms as unify
from motion.datasets import deepmimic
from motion.diffusion import NoiseSchedule, cosine_schedule, epsilon_from_x0, q_sample, signal_and_noise
from motion.features import Moments, decode, encode
from motion.guidance.terms import BodyShape, Term, Trajectory, steer
from motion.samplers import respaced
from motion.skeleton import JOINT
from motion.smpl_parameters import SmplParameters

BODY = load_body()
SCHEDULE: NoiseSchedule = cosine_schedule()
STEPS = 20
PELVIS = JOINT["pelvis"]
PENETRATES = 0.02  # metres, as in `motion.metrics.plausibility`


class Motions:
    """Gaussian of motions: persons who walk somewhere, each turned, bent and placed otherwise.

    The covariance is that of 80 samples and a little of the identity: E[x_0 | x_t] is a linear map of x_t.
    """

    def __init__(self, spread: float, height: float = 0.0) -> None:
        clip = next(clip for clip in deepmimic.list_clips() if clip.id.endswith("humanoid3d_walk"))
        self.clip = unify.resample(deepmimic.read_clip(clip, BODY), 20.0, BODY)
        self.spread, self.height = spread, height
        drawn = torch.stack([self.draw(seed) for seed in range(80)])
        self.normalizer = Moments.of(drawn.flatten(0, 1)).normalizer()
        rows = self.normalizer.normalize(drawn).flatten(1)
        self.mean = rows.mean(dim=0)
        _, sizes, self.directions = torch.linalg.svd((rows - self.mean) / len(rows) ** 0.5, full_matrices=False)
        self.variances = sizes.square()

    def draw(self, seed: int) -> Tensor:
        """Draw features (frame, 282)."""
        random = torch.Generator().manual_seed(seed)
        walk = {name: torch.from_numpy(getattr(self.clip, name)) for name in ("transl", "global_orient", "body_pose")}
        time = torch.linspace(0, 1, len(walk["transl"][0]))[:, None, None]
        middle, swing, phase = torch.randn(3, 1, 24, 3, generator=random)
        bent = roma.rotvec_to_rotmat(0.12 * (middle + swing * torch.sin(3 * time + 3 * phase)))
        turn = roma.rotvec_to_rotmat(0.3 * torch.randn(1, generator=random) * torch.tensor([0.0, 0.0, 1.0]))
        place = self.spread * torch.randn(3, generator=random) * torch.tensor([1.0, 1.0, 0.05])
        pelvis = walk["transl"] - walk["transl"].mean(dim=1, keepdim=True) * torch.tensor([1.0, 1.0, 0.0])
        transl = pelvis @ turn.T + place + torch.tensor([0.0, 0.0, self.height])
        pose = walk["body_pose"] @ bent[None, :, 1:]
        turned = turn @ walk["global_orient"] @ bent[None, :, 0]
        joints = SmplParameters(transl, turned, pose, torch.zeros(1, 10)).joints(BODY)
        return encode(joints, pose)[0]

    def denoise(self, x_t: Tensor, t: Tensor) -> Tensor:
        a, sigma = (value[:, 0] for value in signal_and_noise(SCHEDULE, t, x_t))
        a, noise, little = a.view(-1, 1, 1), sigma.view(-1, 1, 1).square(), 0.005**2
        off = x_t.flatten(2) - a * self.mean
        along = off @ self.directions.T
        gain, rest = (a * v / (a * a * v + noise) for v in (self.variances + little, little))
        return (self.mean + rest * off + ((gain - rest) * along) @ self.directions).view(x_t.shape)


@lru_cache(maxsize=4)
def motions(spread: float, height: float = 0.0) -> Motions:
    return Motions(spread, height)


def sampled(
    of: Motions, terms: Sequence[Term], batch: int, persons: int = 1
) -> tuple[list[SmplParameters], list[list[SmplParameters]]]:
    """Sample one pose a sample by DDIM; also return those of the estimates at every step."""
    x = torch.stack(
        [torch.randn(persons, *of.draw(0).shape, generator=torch.Generator().manual_seed(i)) for i in range(batch)]
    )
    valid = torch.ones(x.shape[:3], dtype=torch.bool)
    body_shape = BodyShape.of(BODY, torch.zeros(batch, persons, 10))
    timesteps = respaced(SCHEDULE.num_steps, STEPS)
    seen = []
    for now, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t = torch.full((batch,), now)
        progress = 1 - t / SCHEDULE.num_steps
        x0 = of.denoise(x, t)
        if terms:
            x0 = steer(x0, progress, of.normalizer, body_shape, valid, terms)
        seen.append(poses(of, x0))
        noise = epsilon_from_x0(SCHEDULE, x0, x, t)
        x = q_sample(SCHEDULE, x0, torch.full((batch,), following), noise) if following >= 0 else x0
    return poses(of, x), seen


def poses(of: Motions, x: Tensor) -> list[SmplParameters]:
    return [decode(of.normalizer.denormalize(each), BODY, torch.zeros(len(each), 10)) for each in x]


def joints(of: list[SmplParameters]) -> Tensor:
    return torch.stack([pose.joints(BODY) for pose in of])


def always(batch: int, weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    return torch.full((batch,), weight), torch.zeros(batch), torch.ones(batch)


def camera(batch: int) -> tuple[Tensor, Tensor]:
    """Place a camera 1.5 m high that looks along +y from 5 m away, 500 pixels of focal length."""
    extrinsics = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 1.5], [0, 1, 0, 5], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    return intrinsics.expand(batch, 3, 3), extrinsics.expand(batch, 4, 4)


def projected(points: Tensor) -> Tensor:
    intrinsics, extrinsics = (matrix[0] for matrix in camera(1))
    seen = (points @ extrinsics[:3, :3].T + extrinsics[:3, 3]) @ intrinsics.T
    return seen[..., :2] / seen[..., 2:]


def capsules(pose: SmplParameters) -> Capsules:
    return fit_capsules(pose.joints(BODY).numpy(), np.zeros((len(pose.transl), 10), dtype=np.float32), BODY)


def someone(batch: int, persons: int = 1) -> tuple[Tensor, BodyShape, Tensor]:
    """Draw normalized features of walks 0.3 m or so apart."""
    of = motions(0.3)
    x = torch.stack([torch.stack([of.draw(persons * i + k) for k in range(persons)]) for i in range(batch)])
    body_shape = BodyShape.of(BODY, torch.zeros(batch, persons, 10))
    return of.normalizer.normalize(x), body_shape, torch.ones(x.shape[:3], dtype=torch.bool)


def steered(x: Tensor, body_shape: BodyShape, valid: Tensor, terms: Sequence[Term], progress: float = 0.9) -> Tensor:
    return steer(x, torch.full((len(x),), progress), motions(0.3).normalizer, body_shape, valid, terms)


def pelvis_path(x: Tensor, shift: float = 0.4, weight: float = 1.0) -> Trajectory:
    """Return the pelvis' path over the floor, moved along x and y."""
    target = motions(0.3).normalizer.denormalize(x)[..., None, :3] + shift
    known = torch.tensor([True, True, False]).expand(target.shape).clone()
    return Trajectory(*always(len(x), weight), (PELVIS,), target, known)
