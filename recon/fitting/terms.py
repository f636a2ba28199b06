"""Energies that `recon.fitting` sums, each a free function from posed bodies to a number.

World: Z up, floor z = 0, metres; pixels are converted to metres at the person's distance, so that persons far away
count alike. Every term is a sum over the valid persons and frames of something like a negative log likelihood: half a
square over a variance, bounded (Geman & McClure 1987) where an observation may be plainly wrong.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from recon.camera import project

CONTACT_SPEED_M_S = 0.4  # soles that move faster are in the air
CONTACT_HEIGHT_M = 0.1  # above the floor; lower soles at rest are drawn onto it
DRAWN_M = 0.15  # standard deviation: feet of a sitting person hang above the floor
STILL_M_S2 = 1.0  # accelerations below count by their square, those above by their size
ANKLES, SHOULDERS = (7, 8), (16, 17)
LEAN_RAD = 0.1  # standard deviation of the lean of who stands, and of the slope of who lies
LOWEST_M, LOWEST_BOUND_M = 0.05, 0.5  # standard deviation of the lowest point of who is on the floor, and its bound
NEARLY_M = 1e-3  # that balls are taken for larger, which is more than rounding could make of it
MOST_FRAMES = 5  # of a person, which count; more are worth no more, as they err alike


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
    intrinsics: Float[Tensor, "person 1 3 3"],
    sigma: Float[Tensor, "person 1 1"],
    bound: Float[Tensor, "person 1 1"],
) -> Float[Tensor, ""]:
    """Penalise the distance of projected keypoints to the annotated pixels, in metres at the person's distance.

    `sigma` and `bound` are metres, `weight` 0 for keypoints that are not annotated.
    """
    away = (project(in_camera, intrinsics) - pixels) * metres_per_pixel[..., None]
    return (weight * bounded(away.square().sum(dim=-1), sigma, bound)).sum()


def skin_depth(
    depth: Float[Tensor, "person frame keypoint"],
    seen: Float[Tensor, "person frame keypoint"],
    weight: Float[Tensor, "person frame keypoint"],
    radius: Float[Tensor, "person frame keypoint"],
    least: float,
    relative_error: Float[Tensor, "person 1 1"],
    bound: float,
) -> Float[Tensor, ""]:
    """Penalise keypoints that do not lie a limb's `radius` behind the skin seen at their pixel (metres).

    Bounded, as the skin may be another person's. `seen` is NaN where unknown. Each keypoint's noise is `least` metres;
    `relative_error` of the seen depth is common to all of a person, who therefore count as one measurement of it. Up to
    twice the noise is believed.
    """
    known = seen.isfinite()
    seen = seen.nan_to_num()
    behind = torch.where(known, depth - seen - radius, 0.0)
    together = (known * weight).sum(dim=(1, 2), keepdim=True, dtype=torch.float64).float()
    sigma = (least**2 + together * (relative_error * seen).square()).sqrt()
    return (weight * bounded(behind.square(), sigma, (2 * sigma).clamp_min(bound))).sum()


def before_background(
    depth: Float[Tensor, "person frame keypoint"],
    background: Float[Tensor, "person frame keypoint"],
    weight: Float[Tensor, "person frame keypoint"],
    radius: Float[Tensor, "person frame keypoint"],
    least: float,
    relative_error: Float[Tensor, "person 1 1"],
    bound: float,
) -> Float[Tensor, ""]:
    """Penalise visible keypoints behind the empty room's surface: nobody sinks into beds or walls.

    `background` is metres, infinite where unknown; its noise is `least` metres and `relative_error` of the depth.
    Bounded, because a keypoint that was clicked elsewhere may lie on something nearer.
    """
    known = torch.where(background.isfinite(), background, 0.0)
    sigma = (least**2 + (relative_error * known).square()).sqrt()
    behind = (depth + radius - background).clamp_min(0)
    return (weight * bounded(behind.square(), sigma, (2 * sigma).clamp_min(bound))).sum()


def acceleration(
    joints: Float[Tensor, "person frame 24 3"], valid: Bool[Tensor, "person frame"], fps: Float[Tensor, "person 1 1"]
) -> Float[Tensor, ""]:
    """Penalise acceleration in m/s²: the smoothing term of eq. 4.1 as `recon.smoothing` reads it."""
    moving = valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]
    size = joints.diff(n=2, dim=1).mul(fps[..., None] ** 2).square().sum(dim=-1).mean(dim=-1)
    return (moving * ((size + STILL_M_S2**2).sqrt() - STILL_M_S2)).sum()


def floor_contact(
    joint_heights: Float[Tensor, "person frame 24"],
    sole_heights: Float[Tensor, "person frame sole"],
    soles: Float[Tensor, "person frame sole 3"],
    radius: Float[Tensor, " 24"],
    valid: Bool[Tensor, "person frame"],
    fps: Float[Tensor, "person 1 1"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Penalise joints and soles below the floor, and soles at rest near the floor that are not on it.

    Heights are metres above the floor; the soles' places tell which are at rest.
    """
    sunk = hinge(radius - joint_heights, sigma).sum(dim=-1) + hinge(-sole_heights, sigma).sum(dim=-1)
    with torch.no_grad():
        known = (valid[:, 1:] & valid[:, :-1])[..., None]
        speed = torch.where(known, soles.diff(dim=1).norm(dim=-1) * fps, torch.inf)
        before, after = (pad(speed, ends, value=torch.inf) for ends in ((0, 0, 1, 0), (0, 0, 0, 1)))
        slow = torch.minimum(before, after) < CONTACT_SPEED_M_S
    drawn = slow * bounded(sole_heights.clamp_min(0).square(), DRAWN_M, CONTACT_HEIGHT_M)
    return (valid * (sunk + drawn.sum(dim=-1))).sum()


def lean(
    joints: Float[Tensor, "person frame 24 3"],
    up: Float[Tensor, "person frame 3"],
    upright: Bool[Tensor, "person frame"],
    lying: Bool[Tensor, "person frame"],
) -> Float[Tensor, ""]:
    """Penalise the lean from ankles to shoulders of persons who stand, and its slope in those who lie; `up` are unit.

    Angles are radians, if small. A person's frames lean alike, so many count no more than `MOST_FRAMES`.
    """
    along = normalize(joints[:, :, SHOULDERS].mean(dim=2) - joints[:, :, ANKLES].mean(dim=2), dim=-1, eps=0.1)
    rise = (along * up).sum(dim=-1)
    square = 2 * upright * (1 - rise) + lying * rise.square()
    return (_share(upright | lying) * 0.5 * square / LEAN_RAD**2).sum()


def lowest_point(
    joint_heights: Float[Tensor, "person frame 24"],
    sole_heights: Float[Tensor, "person frame sole"],
    on_floor: Bool[Tensor, "person frame"],
) -> Float[Tensor, ""]:
    """Penalise a gap (metres) between the floor and persons who are on it.

    Heights are those of the skin at the joints and of the soles. Many frames count no more than `MOST_FRAMES`.
    """
    lowest = torch.minimum(joint_heights.amin(dim=-1), sole_heights.amin(dim=-1))
    return (_share(on_floor) * on_floor * bounded(lowest.square(), LOWEST_M, LOWEST_BOUND_M)).sum()


def _share(frames: Bool[Tensor, "person frame"]) -> Float[Tensor, "person 1"]:
    """Compute the weight of each of a person's frames."""
    return MOST_FRAMES / frames.sum(dim=1, keepdim=True).clamp_min(MOST_FRAMES)


def apart(
    balls: Float[Tensor, "person frame ball 3"],
    radii: Float[Tensor, "person ball"],
    valid: Bool[Tensor, "person frame"],
    room: Int[Tensor, " person"],
    sigma: float,
) -> Float[Tensor, ""]:
    """Penalise persons of one `room` who reach into each other; a person is the balls on the bones."""
    one, two = torch.combinations(torch.arange(len(balls), device=balls.device)).T
    together = room[one] == room[two]
    one, two = one[together], two[together]
    with torch.no_grad():  # only boxes around persons that overlap are looked into
        low, high = (balls - radii[:, None, :, None]).amin(dim=-2), (balls + radii[:, None, :, None]).amax(dim=-2)
        overlap = ((low[one] < high[two]) & (low[two] < high[one])).all(dim=-1)
        pair, frame = (overlap & valid[one] & valid[two]).nonzero().T
        one, two = one[pair], two[pair]
        at, first, second = _near(balls[one, frame], balls[two, frame], radii[one], radii[two]).nonzero().T
    one, two, frame = one[at], two[at], frame[at]
    gap = (balls[one, frame, first] - balls[two, frame, second]).norm(dim=-1)
    return hinge(radii[one, first] + radii[two, second] - gap, sigma).sum()


def _near(
    one: Float[Tensor, "pair ball 3"],
    two: Float[Tensor, "pair ball 3"],
    radii: Float[Tensor, "pair ball"],
    other_radii: Float[Tensor, "pair ball"],
) -> Bool[Tensor, "pair ball ball"]:
    """Mark all balls that overlap, and some that nearly do: `|a - b|² < (r + s)²` as one matrix product."""
    middle = one.mean(dim=1, keepdim=True)
    one, two, nearly = one - middle, two - middle, radii + NEARLY_M
    of_one, of_two = nearly.square() - one.square().sum(dim=-1), other_radii.square() - two.square().sum(dim=-1)
    ones = torch.ones_like(radii)
    left = torch.cat([2 * one, torch.stack([2 * nearly, of_one, ones], dim=-1)], dim=-1)
    right = torch.cat([two, torch.stack([other_radii, ones, of_two], dim=-1)], dim=-1)
    return left @ right.mT > 0


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
