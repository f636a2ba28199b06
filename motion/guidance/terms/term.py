"""Guidance terms: targets for 2D keypoints, for paths and waypoints, and for floor and feet, as energies of the joints.

`motion.guidance.terms.steering.steer` corrects the estimate of x_0 at each step of sampling so that the energies get
smaller. An energy is one number per sample: the sum of ½ (distance / `ACCURACY_M`)² over the targets. At weight 1, a
distance of one centimetre costs as much as a correction of one standard deviation. Distances are metres in the world,
those of 2D keypoints too, so they do not depend on the noise that is left in x_t.

`steer` uses the first and the second derivative by the joints. Energies are therefore convex and smooth in the joints,
with detached parts as constants: at a kink, rounding differences between batch sizes would grow.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from motion.guidance.terms.figure import Figure
from motion.skeleton import FEET

ACCURACY_M = 0.01
OUTLIER_M = 0.2  # from here on a keypoint pulls no harder (pseudo-Huber, as reweighted squares)
MIN_DEPTH_M = 0.1  # where a keypoint's ray begins
SOFT_M = 0.02  # to both sides of a limit, where it begins to push
FOOT_LOW_M = 0.1  # above its height when standing: a higher foot is not in contact
FOOT_SLOW_M = 0.03  # per frame: a faster foot is not in contact


@dataclass(frozen=True, eq=False, repr=False)
class Term(ABC):
    """Energy of the joints that guidance makes small, with one weight and interval per sample.

    `start` and `stop` are shares of sampling: 0 is pure noise, 1 is done.
    """

    weight: Float[Tensor, " batch"]
    """Weight of the energy per sample; 0 switches the term off for a sample."""
    start: Float[Tensor, " batch"]
    """Share of sampling where the term begins, per sample."""
    stop: Float[Tensor, " batch"]
    """Share of sampling where the term ends, per sample."""

    def __repr__(self) -> str:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return f"{type(self).__name__}: " + ", ".join(f"{name} {tuple(each.shape)}" for name, each in tensors.items())

    def active_weight(self, progress: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Return the weight of each sample at this `progress`; 0 outside its interval."""
        return torch.where((self.start <= progress) & (progress <= self.stop), self.weight, 0.0)

    @abstractmethod
    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Compute the energy per sample, 0 where every target is met; frames that are not valid are left out."""


def half_square(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute ½ (distance / `ACCURACY_M`)² for a distance in metres."""
    return 0.5 * (distance / ACCURACY_M).square()


def half_square_beyond(distance: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute half the square of a positive distance, up to a constant; negative distances cost nothing.

    About zero, within `SOFT_M`, its second derivative grows linearly.
    """
    near, far = (distance + SOFT_M).clamp(0, 2 * SOFT_M), (distance - SOFT_M).clamp_min(0)
    return (near**3 / (12 * SOFT_M) + far * (SOFT_M + far / 2)) / ACCURACY_M**2


def summed(energies: Float[Tensor, "batch *rest"], where: Bool[Tensor, "batch *rest"]) -> Float[Tensor, " batch"]:
    """Sum the energies of each sample where `where` is True."""
    return torch.where(where, energies, 0.0).flatten(1).sum(dim=1)


@dataclass(frozen=True, eq=False, repr=False)
class Keypoints2D(Term):
    """2D keypoints of SMPL joints seen by a camera with OpenCV's axes.

    The distance is that of the joint from the ray through its keypoint: near it, the reprojection error times depth
    over focal length. Unlike pixels it has no pole where an estimate out of noise stands in or behind the camera.
    """

    intrinsics: Float[Tensor, "batch 3 3"]
    """Camera matrix in pixels."""
    extrinsics: Float[Tensor, "batch 4 4"]
    """World to camera, metres."""
    keypoints: Float[Tensor, "batch person frame 24 2"]
    """Pixels (x, y); may be NaN where the confidence is 0."""
    confidence: Float[Tensor, "batch person frame 24"]
    """Weight of each keypoint; 0 where a joint was not seen."""

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Sum the squared distances of the seen joints from their rays, outliers pulled less (pseudo-Huber)."""
        turn, shift = self.extrinsics[:, :3, :3], self.extrinsics[:, :3, 3]
        points = torch.einsum("bij,bptkj->bptki", turn, figure.joints) + shift[:, None, None, None]
        rays = self._rays()
        along = (points * rays).sum(dim=-1, keepdim=True).clamp_min(MIN_DEPTH_M)
        off = points - along * rays
        trust = 1 / (1 + off.detach().square().sum(dim=-1) / OUTLIER_M**2).sqrt()
        seen = figure.valid[..., None] & (self.confidence > 0)
        return summed(self.confidence * trust * half_square(off).sum(dim=-1), seen)

    def _rays(self) -> Float[Tensor, "batch person frame 24 3"]:
        """Compute unit vectors through the keypoints in the camera's frame; unseen keypoints may be NaN."""
        pixels = torch.where(self.confidence[..., None] > 0, self.keypoints, 0.0)
        inverse = torch.linalg.inv(self.intrinsics)
        homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
        return normalize(torch.einsum("bij,bptkj->bptki", inverse, homogeneous), dim=-1)


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(Term):
    """Targets for chosen joints: a path if `known` in all frames, waypoints if in a few."""

    joints: tuple[int, ...]
    """Indices of the chosen SMPL joints."""
    targets: Float[Tensor, "batch person frame chosen 3"]
    """World positions in metres; read only where `known`."""
    known: Bool[Tensor, "batch person frame chosen 3"]
    """True where a target is given, per axis, so that a path over the floor leaves the height free."""

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Sum the squared distances of the joints from their known targets."""
        wanted = self.known & figure.valid[..., None, None]
        off = figure.joints[..., self.joints, :] - torch.where(wanted, self.targets, 0.0)
        return summed(half_square(off), wanted)


@dataclass(frozen=True, eq=False, repr=False)
class FloorContact(Term):
    """Penalty on capsules below the floor, and on low and slow feet that do not stand still on it.

    Contacts are read from the estimate before its correction.
    """

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Sum the depths below the floor and the slides and heights of the standing feet."""
        starts, ends = figure.capsules()
        radii = figure.body_shape.radii[:, :, None]
        depth = radii[..., None] - torch.stack([starts[..., 2], ends[..., 2]], dim=-1)
        below = summed(half_square_beyond(depth), figure.valid[..., None, None].expand_as(depth))
        return below + self._standing(figure)

    @staticmethod
    def _standing(figure: Figure) -> Float[Tensor, " batch"]:
        feet = figure.joints[..., FEET, :]
        height = feet[..., 2] - figure.body_shape.foot_heights[:, :, None]
        slide = torch.diff(feet[..., :2], dim=2)
        energies = half_square(slide).sum(dim=-1) + half_square(height[:, :, 1:])
        both = figure.valid[:, :, :-1] & figure.valid[:, :, 1:]
        return summed(_contact(figure) * energies, both[..., None].expand_as(energies))


def _contact(figure: Figure) -> Float[Tensor, "batch person step 4"]:
    """Estimate how much each foot stands from one frame to the next, 0 to 1, without a threshold."""
    feet = figure.estimate[..., FEET, :]
    low = _biweight(feet[..., 2] - figure.body_shape.foot_heights[:, :, None], FOOT_LOW_M)
    return low[:, :, :-1] * low[:, :, 1:] * _biweight(torch.diff(feet[..., :2], dim=2).norm(dim=-1), FOOT_SLOW_M)


def _biweight(value: Float[Tensor, "*shape"], bound: float) -> Float[Tensor, "*shape"]:
    return (1 - (value / bound).square()).clamp_min(0).square()
