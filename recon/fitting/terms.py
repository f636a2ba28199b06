"""Energies that `recon.fitting` sums, each a free function from posed bodies to a number.

World: Z up, floor z = 0, metres; pixels are converted to metres at the person's distance, so that persons far away
count alike. Every term is a sum over the valid persons and frames of something like a negative log likelihood: half a
square over a variance, bounded (Geman & McClure 1987) where an observation may be plainly wrong.
"""

from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from recon.camera import Camera, project

CONTACT_SPEED_M_S = 0.4  # soles that move faster are in the air
CONTACT_HEIGHT_M = 0.1  # above the floor; lower soles at rest are drawn onto it
DRAWN_M = 0.15  # standard deviation: feet of a sitting person hang above the floor
STILL_M_S2 = 1.0  # accelerations below count by their square, those above by their size
NEAR_M = 1.5  # between the middles of two persons, within which their limbs are compared


def bounded(
    square: Float[Tensor, "*batch"], sigma: float | Float[Tensor, "*#batch"], bound: float | Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    """Compute half of `square / sigma²` for small values, bounded by that of `bound²` (Geman & McClure 1987)."""
    return 0.5 * (bound / sigma) ** 2 * square / (square + bound**2)


def hinge(depth: Float[Tensor, "*batch"], sigma: float) -> Float[Tensor, "*batch"]:
    """Compute half the square of `depth / sigma` where it is positive, else 0."""
    return 0.5 * (depth.clamp_min(0) / sigma).square()


def reprojection(
    in_camera: Float[Tensor, "person frame keypoint 3"],
    pixels: Float[Tensor, "person frame keypoint 2"],
    weight: Float[Tensor, "person frame keypoint"],
    metres_per_pixel: Float[Tensor, "person frame 1"],
    camera: Camera,
    sigma: Float[Tensor, "person 1 1"],
    bound: Float[Tensor, "person 1 1"],
) -> Float[Tensor, ""]:
    """Penalise the distance of projected keypoints to the annotated pixels, in metres at the person's distance.

    `sigma` and `bound` are metres, `weight` 0 for keypoints that are not annotated.
    """
    away = (project(in_camera, camera.intrinsics) - pixels) * metres_per_pixel[..., None]
    return (weight * bounded(away.square().sum(dim=-1), sigma, bound)).sum()


def skin_depth(
    depth: Float[Tensor, "person frame keypoint"],
    seen: Float[Tensor, "person frame keypoint"],
    weight: Float[Tensor, "person frame keypoint"],
    radius: Float[Tensor, " keypoint"],
    least: float,
    relative_error: float,
    bound: float,
) -> Float[Tensor, ""]:
    """Penalise keypoints that do not lie a limb's `radius` behind the skin seen at their pixel (metres).

    Bounded, as the skin may be another person's. `seen` is NaN where unknown. The noise is `relative_error` of the seen
    depth, and not below `least` metres; up to twice the noise is believed.
    """
    known = seen.isfinite()
    seen = seen.nan_to_num()
    behind = torch.where(known, depth - seen - radius, 0.0)
    sigma = (relative_error * seen).clamp_min(least)
    return (weight * bounded(behind.square(), sigma, (2 * sigma).clamp_min(bound))).sum()


def before_background(
    depth: Float[Tensor, "person frame keypoint"],
    background: Float[Tensor, "person frame keypoint"],
    weight: Float[Tensor, "person frame keypoint"],
    radius: Float[Tensor, " keypoint"],
    sigma: float,
    bound: float,
) -> Float[Tensor, ""]:
    """Penalise visible keypoints behind the empty room's surface: nobody sinks into beds or walls.

    `background` is metres, infinite where unknown. Bounded, because a keypoint that was clicked elsewhere may lie on
    something nearer.
    """
    return (weight * bounded((depth + radius - background).clamp_min(0).square(), sigma, bound)).sum()


def acceleration(
    joints: Float[Tensor, "person frame 24 3"], valid: Bool[Tensor, "person frame"], fps: float
) -> Float[Tensor, ""]:
    """Penalise acceleration in m/s²: the smoothing term of eq. 4.1 as `recon.smoothing` reads it."""
    moving = valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]
    size = joints.diff(n=2, dim=1).mul(fps**2).square().sum(dim=-1).mean(dim=-1)
    return (moving * ((size + STILL_M_S2**2).sqrt() - STILL_M_S2)).sum()


def floor_contact(
    joints: Float[Tensor, "person frame 24 3"],
    soles: Float[Tensor, "person frame sole 3"],
    radius: Float[Tensor, " 24"],
    valid: Bool[Tensor, "person frame"],
    fps: float,
    sigma: float,
) -> Float[Tensor, ""]:
    """Penalise joints and soles below the floor, and soles at rest near the floor that are not on it."""
    sunk = hinge(radius - joints[..., 2], sigma).sum(dim=-1) + hinge(-soles[..., 2], sigma).sum(dim=-1)
    with torch.no_grad():
        known = (valid[:, 1:] & valid[:, :-1])[..., None]
        speed = torch.where(known, soles.diff(dim=1).norm(dim=-1) * fps, torch.inf)
        before, after = (pad(speed, ends, value=torch.inf) for ends in ((0, 0, 1, 0), (0, 0, 0, 1)))
        slow = torch.minimum(before, after) < CONTACT_SPEED_M_S
    drawn = slow * bounded(soles[..., 2].clamp_min(0).square(), DRAWN_M, CONTACT_HEIGHT_M)
    return (valid * (sunk + drawn.sum(dim=-1))).sum()


def apart(
    balls: Float[Tensor, "person frame ball 3"],
    radii: Float[Tensor, "person ball"],
    valid: Bool[Tensor, "person frame"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Penalise persons who reach into each other; a person is the balls on the bones."""
    energy = balls.new_zeros(())
    for one, two in combinations(range(len(balls)), 2):
        close = (balls[one].mean(dim=-2) - balls[two].mean(dim=-2)).norm(dim=-1) < NEAR_M
        frames = close & valid[one] & valid[two]
        if frames.any():
            gap = torch.cdist(balls[one, frames], balls[two, frames], compute_mode="donot_use_mm_for_euclid_dist")
            energy = energy + hinge(radii[one][:, None] + radii[two] - gap, sigma).sum()
    return energy


def near_start(
    pose: Float[Tensor, "person frame joint 3 3"],
    start: Float[Tensor, "person frame joint 3 3"],
    valid: Bool[Tensor, "person frame"],
    sigma: float,
    bound: float,
) -> Float[Tensor, ""]:
    """Penalise rotations away from the start's (radians, if small); bounded, as some frames start plainly wrong."""
    turned = (pose - start).square().sum(dim=(-1, -2)) / 2
    return (valid[..., None] * bounded(turned, sigma, bound)).sum()
