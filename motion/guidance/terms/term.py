"""The terms that look at joints: 2D keypoints, paths and waypoints, floor and feet.

An energy is one number per sample, a sum of ½ (distance / `ACCURACY`)² over what is wanted: at weight 1 one
centimetre counts as much as one standard deviation of the correction that `steer` makes. Distances are metres in the
world whatever they were measured in, so that nothing here depends on the noise that is left in x_t.

`steer` follows the first and the second derivative by the joints. So energies are convex in them, as distances are
linear but for what is detached, and have no kinks, at which samples that differ by rounding would part.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from motion.guidance.terms.figure import Figure
from motion.skeleton import FEET

ACCURACY = 0.01  # metres
OUTLIER = 0.2  # metres from which a keypoint pulls no harder (pseudo-Huber, as reweighted squares)
NEAREST = 0.1  # metres before the camera where a keypoint's ray begins
SOFT = 0.02  # metres to both sides of a limit in which it begins to push
FOOT_LOW, FOOT_SLOW = 0.1, 0.03  # metres above where it stands, metres a frame: beyond, a foot is not in contact


@dataclass(frozen=True, eq=False)
class Term(ABC):
    """`start` and `stop` are shares of sampling: 0 is pure noise, 1 is done. All have one number per sample."""

    weight: Float[Tensor, " batch"]
    start: Float[Tensor, " batch"]
    stop: Float[Tensor, " batch"]

    def active_weight(self, progress: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return torch.where((self.start <= progress) & (progress <= self.stop), self.weight, 0.0)

    @abstractmethod
    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Zero where all is met; frames that are not valid take no part."""


def half_square(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return 0.5 * (distance / ACCURACY).square()


def half_square_beyond(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half the square of what is positive, but for a constant; about zero its second derivative grows linearly."""
    near, far = (distance + SOFT).clamp(0, 2 * SOFT), (distance - SOFT).clamp_min(0)
    return (near**3 / (12 * SOFT) + far * (SOFT + far / 2)) / ACCURACY**2


def summed(energies: Float[Tensor, "batch *rest"], where: Bool[Tensor, "batch *rest"]) -> Float[Tensor, " batch"]:
    return torch.where(where, energies, 0.0).flatten(1).sum(dim=1)


@dataclass(frozen=True, eq=False)
class Keypoints2D(Term):
    """SMPL joints seen by a camera of OpenCV's axes; `confidence` is 0 where a joint was not seen.

    The distance is that of the joint from the ray through its keypoint: near it, the reprojection error times depth
    over focal length. Unlike pixels it has no pole where an estimate out of noise stands in or behind the camera.
    """

    intrinsics: Float[Tensor, "batch 3 3"]
    extrinsics: Float[Tensor, "batch 4 4"]
    """World to camera."""
    keypoints: Float[Tensor, "batch person frame 24 2"]
    confidence: Float[Tensor, "batch person frame 24"]

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        turn, shift = self.extrinsics[:, :3, :3], self.extrinsics[:, :3, 3]
        points = torch.einsum("bij,bptkj->bptki", turn, figure.joints) + shift[:, None, None, None]
        rays = self._rays()
        along = (points * rays).sum(dim=-1, keepdim=True).clamp_min(NEAREST)
        off = points - along * rays
        trust = 1 / (1 + off.detach().square().sum(dim=-1) / OUTLIER**2).sqrt()
        seen = figure.valid[..., None] & (self.confidence > 0)
        return summed(self.confidence * trust * half_square(off).sum(dim=-1), seen)

    def _rays(self) -> Float[Tensor, "batch person frame 24 3"]:
        """Unit vectors in the camera's frame; keypoints that were not seen may be NaN."""
        pixels = torch.where(self.confidence[..., None] > 0, self.keypoints, 0.0)
        inverse = torch.linalg.inv(self.intrinsics)
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
        return normalize(torch.einsum("bij,bptkj->bptki", inverse, homogeneous), dim=-1)


@dataclass(frozen=True, eq=False)
class Trajectory(Term):
    """Where chosen joints should be: a path where `known` in all frames, waypoints where in a few.

    `known` is per axis, so that a path over the floor leaves the height free.
    """

    joints: tuple[int, ...]
    targets: Float[Tensor, "batch person frame chosen 3"]
    known: Bool[Tensor, "batch person frame chosen 3"]

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        wanted = self.known & figure.valid[..., None, None]
        off = figure.joints[..., self.joints, :] - torch.where(wanted, self.targets, 0.0)
        return summed(half_square(off), wanted)


@dataclass(frozen=True, eq=False)
class FloorContact(Term):
    """No skin below the floor; feet that the estimate has low and slow stand on it and do not slide."""

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        starts, ends = figure.capsules()
        radii = figure.physique.radii[:, :, None]
        depth = radii[..., None] - torch.stack([starts[..., 2], ends[..., 2]], dim=-1)
        below = summed(half_square_beyond(depth), figure.valid[..., None, None].expand_as(depth))
        return below + self._standing(figure)

    @staticmethod
    def _standing(figure: Figure) -> Float[Tensor, " batch"]:
        feet = figure.joints[..., FEET, :]
        height = feet[..., 2] - figure.physique.foot_heights[:, :, None]
        slide = torch.diff(feet[..., :2], dim=2)
        energies = half_square(slide).sum(dim=-1) + half_square(height[:, :, 1:])
        both = figure.valid[:, :, :-1] & figure.valid[:, :, 1:]
        return summed(_contact(figure) * energies, both[..., None].expand_as(energies))


def _contact(figure: Figure) -> Float[Tensor, "batch person step 4"]:
    """How much each foot stands from one frame to the next, 0 to 1; without a threshold at which motions part."""
    feet = figure.estimate[..., FEET, :]
    low = _biweight(feet[..., 2] - figure.physique.foot_heights[:, :, None], FOOT_LOW)
    return low[:, :, :-1] * low[:, :, 1:] * _biweight(torch.diff(feet[..., :2], dim=2).norm(dim=-1), FOOT_SLOW)


def _biweight(value: Float[Tensor, "*shape"], bound: float) -> Float[Tensor, "*shape"]:
    return (1 - (value / bound).square()).clamp_min(0).square()
