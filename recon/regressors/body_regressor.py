"""Protocol of networks that estimate a body from a crop; HMR2.0 follows it, and so can ProHMR or a newer one.

A regressor describes one person as its crop's own camera sees them: a weak-perspective camera that looks along the ray
to the crop's centre. It knows no room and no focal length; `in_camera` puts its estimates into the room's camera.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from motion.body import Body
from motion.rotations import rotate, shortest_rotation
from motion.smpl_parameters import SmplParameters
from recon.camera import project, unproject

SMALLEST_SCALE = 0.02  # of a body in its crop; persons have about 0.9, and at 0 they would be infinitely far


@dataclass(frozen=True, eq=False)
class CropEstimates:
    """Regressor's estimates, one row for each crop; bodies are `BodyRegressor.body`'s."""

    global_orient: Float[Tensor, "crop 3 3"]
    """Rotation from the body to the camera that looks along the crop's ray (OpenCV axes)."""
    body_pose: Float[Tensor, "crop 23 3 3"]
    """Rotation matrices of joints 1 to 23, relative to the parent."""
    betas: Float[Tensor, "crop 10"]
    """Shape coefficients of the regressor's body, in standard deviations."""
    cam: Float[Tensor, "crop 3"]
    """Weak-perspective camera (s, tx, ty) of each crop.

    A point (x, y) of the body, metres from its own origin (where `transl` is added), lies at `s (x + tx, y + ty)` on
    the square, whose sides are at -1 and 1.
    """

    @property
    def bodies(self) -> SmplParameters:
        """Bodies as the crops see them, each with its own origin at zero (`transl` 0)."""
        return SmplParameters(torch.zeros_like(self.cam), self.global_orient, self.body_pose, self.betas)


@runtime_checkable
class BodyRegressor(Protocol):
    """Network that estimates SMPL parameters of square 8-bit RGB crops.

    `recon.regressors.crops.crop_square` cuts them at `crop_size` pixels a side.
    """

    body: Body
    """Body model that the estimates describe."""
    crop_size: int
    """Side in pixels of the crops that `estimate` takes."""

    def estimate(self, crops: UInt8[Tensor, "crop height width 3"]) -> CropEstimates:
        """Estimate one body for each RGB crop of `crop_size` pixels a side; the answer lies on the CPU."""


class LoadRegressor(Protocol):
    """Function of the user's own that loads a body network, for `--regressor package.module:object`."""

    def __call__(self, body: Body, device: str, bf16: bool) -> BodyRegressor:
        """Load it for the body that the people are fitted with; raise InputError where it uses another body."""


def in_camera(
    estimates: CropEstimates, squares: Float[Tensor, "crop 3"], intrinsics: Float[Tensor, "3 3"], body: Body
) -> SmplParameters:
    """Place the bodies (crop) in the frame of the camera that took the whole image, metres.

    `squares` are centre x, centre y and side of each crop in pixels. Depth follows from the side and the scale, `z = 2
    f / (s side)` (Kanazawa et al. 2018; HMR2.0 takes 5000 px where the focal length is unknown), and the body's origin
    lies on the ray of its own pixel. The crop saw the person along its own ray, so the body is turned with that ray,
    which weak-perspective pipelines leave out; off the axis a pinhole camera also shows things larger than at its
    centre, by cos^-1/2 (the geometric mean of across, 1, and along the radius, 1 / cos).
    """
    turn, focal = _ray(squares, intrinsics)
    scale, shift = estimates.cam[:, 0].clamp_min(SMALLEST_SCALE), estimates.cam[:, 1:]
    half = squares[:, 2] / 2
    pixels = squares[:, :2] + (scale * half)[:, None] * shift
    origin = unproject(pixels, focal / (scale * half), intrinsics)
    return estimates.bodies.moved(turn, origin, body)


def from_camera(
    people: SmplParameters, squares: Float[Tensor, "crop 3"], intrinsics: Float[Tensor, "3 3"], body: Body
) -> CropEstimates:
    """Compute a perfect regressor's estimates of known persons (crop): the inverse of `in_camera`."""
    turn, focal = _ray(squares, intrinsics)
    own = people.moved(turn.mT, torch.zeros(3), body)
    origin = rotate(turn, own.transl)
    half = squares[:, 2] / 2
    scale = focal / (origin[:, 2] * half)
    shift = (project(origin, intrinsics) - squares[:, :2]) / (scale * half)[:, None]
    cam = torch.cat([scale[:, None], shift], dim=-1)
    return CropEstimates(own.global_orient, own.body_pose, own.betas, cam)


def _ray(
    squares: Float[Tensor, "crop 3"], intrinsics: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "crop 3 3"], Float[Tensor, " crop"]]:
    """Compute the rotation from the optical axis to each square's central ray, and the focal length along it."""
    ray = unproject(squares[:, :2], torch.ones_like(squares[:, 2]), intrinsics)
    axis = torch.tensor([0.0, 0.0, 1.0]).to(ray)
    cosine = 1 / ray.norm(dim=-1)
    focal = (intrinsics[0, 0] * intrinsics[1, 1]).sqrt() / cosine.sqrt()
    return shortest_rotation(axis.expand_as(ray), ray), focal
