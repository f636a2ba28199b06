"""Motion as random room cameras see it and annotators click it, from which the lifter learns.

All is in the lifter's own frame of reference (origin on the floor below the camera, Z up, metres), but for the azimuth:
persons move about +x. Nothing is rendered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from motion.body import Body
from motion.rotations import about
from motion.skeleton import KEYPOINT_SETS
from motion.smpl_parameters import SmplParameters
from recon.keypoints import ALIASES, BodyKeypoints
from recon.lifting import NAMES, WINDOW_FRAMES
from recon.training.poses import RATE_FPS, PoseClip, to_and_fro

IMAGE_SIZE_PX = (512, 384)
LEGS = tuple(
    number for number, name in enumerate(NAMES) if name.endswith(("knee", "ankle", "foot", "toe", "heel", "hip"))
)
ACROSS = tuple(
    NAMES.index(name.replace("left", "\0").replace("right", "left").replace("\0", "right")) for name in NAMES
)
"""Index of the keypoint on the other side of the body, for each of `NAMES`."""
SKIN_M = 0.07  # between a joint and the skin in front of it


@dataclass(frozen=True, eq=False)
class Pool:
    """Frames of some clips in a row, on which windows are drawn."""

    rotations: Float[Tensor, "frame 24 3 3"]
    pelvis: Float[Tensor, "frame 3"]
    lowest: Float[Tensor, " frame"]
    lift: Float[Tensor, " frame"]
    start: Int64[Tensor, " clip"]
    length: Int64[Tensor, " clip"]
    weight: Float[Tensor, " clip"]

    @classmethod
    def of(cls, clips: Sequence[PoseClip]) -> "Pool":
        """Join clips; captured and composed ones are drawn equally often, long ones more often."""
        length = torch.tensor([len(clip.lift) for clip in clips])
        composed = torch.tensor([clip.composed for clip in clips])
        weight = length.float().sqrt()
        for kind in (composed, ~composed):
            weight[kind] /= weight[kind].sum().clamp_min(1e-9)
        rotations, pelvis, lowest, lift = (
            torch.cat([getattr(clip, name) for clip in clips]) for name in ("rotations", "pelvis", "lowest", "lift")
        )
        return cls(rotations, pelvis, lowest, lift, length.cumsum(0) - length, length, weight)


@dataclass(frozen=True, eq=False)
class Seen:
    """Batch of true motions, with the camera that sees each (metres, pixels)."""

    joints: Float[Tensor, "person frame 24 3"]
    turns: Float[Tensor, "person frame 24 3 3"]
    """Joint rotations in the world."""
    rotations: Float[Tensor, "person frame 24 3 3"]
    """Rotation of the pelvis to the world, of the other joints to their parents."""
    betas: Float[Tensor, "person 10"]
    fps: Float[Tensor, " person"]
    height: Float[Tensor, " person"]
    world_to_camera: Float[Tensor, "person 3 3"]
    focal: Float[Tensor, " person"]


@dataclass(frozen=True, eq=False)
class Annotated:
    """Annotated keypoints in the form that `recon.lifting.features` takes."""

    rays: Float[Tensor, "person frame keypoint 3"]
    """Ray of each keypoint in the camera's frame, (x, y, 1) for the pixel."""
    confidence: Float[Tensor, "person frame keypoint"]
    """Confidence of each keypoint, 0 to 1; 0 is not annotated."""
    ranges: Float[Tensor, "person frame keypoint"]
    """Distance in metres of the skin along the ray; NaN where it was not measured."""


@dataclass(frozen=True)
class Noise:
    """Errors of annotators: a standard deviation in pixels, and shares of the keypoints."""

    pixels: float = 8.0
    """Standard deviation of a click in pixels, in x and in y."""
    outliers: float = 0.1
    """Share of the keypoints that lie far off."""
    dropped: float = 0.3
    """Share of the keypoints that are not annotated."""
    swapped: float = 0.05
    """Share of the frames whose left and right are exchanged."""
    always: bool = False
    """True gives every batch all of the noise; False gives each person a random share of it."""


CLEAN = Noise(0.0, 0.0, 0.0, 0.0, always=True)


def draw(pool: Pool, count: int, body: Body, generator: torch.Generator, frames: int = WINDOW_FRAMES) -> Seen:
    """Draw persons of random shape at random places before random cameras; half of them mirrored."""
    clip = torch.multinomial(pool.weight, count, replacement=True, generator=generator)
    stride = torch.randint(3, 8, (count,), generator=generator)
    begin = (torch.rand(count, generator=generator) * pool.length[clip]).long()
    number = begin[:, None] + stride[:, None] * torch.arange(frames)
    at = pool.start[clip][:, None] + to_and_fro(number, pool.length[clip][:, None])
    flip = (torch.rand(count, generator=generator) < 0.5)[:, None]
    turn = about("z", 2 * math.pi * torch.rand(count, generator=generator))[:, None]
    betas = torch.randn(count, 10, generator=generator).clamp(-2.5, 2.5)
    people = SmplParameters.from_pelvis(pool.pelvis[at], pool.rotations[at], betas, body)
    people = people.mirrored(body).where(flip, people).moved(turn, torch.zeros(3), body)
    joints, turns = people.kinematics(body)
    bed = torch.where(_chance(0.5, count, generator), _between(0.3, 0.75, count, generator), 0.0)
    joints = joints + _placed(joints, pool.lowest[at], pool.lift[at] * bed[:, None], generator)[:, :, None]
    return _see(joints, turns, people.rotations, betas, RATE_FPS / stride, generator)


def annotate(
    seen: Seen, keypoints: BodyKeypoints, noise: Noise, generator: torch.Generator, names: str | None = None
) -> Annotated:
    """Annotate the keypoints of one set, and some depths.

    `names` is the set, None draws one for each person; `keypoints` are those of `NAMES`.
    """
    points = keypoints.positions(seen.joints, seen.turns, seen.betas[:, None])
    count, frames = points.shape[:2]
    share = (
        torch.ones(count) if noise.always else torch.rand(count, generator=generator) * _chance(0.7, count, generator)
    )
    share = share[:, None, None]
    if not noise.always:  # joints are not clicked where SMPL has them
        points = points + 0.015 * torch.randn(count, 1, *points.shape[2:], generator=generator)
    camera = torch.cat([torch.zeros(count, 2), seen.height[:, None]], dim=-1)[:, None, None]
    in_camera = (points - camera) @ seen.world_to_camera[:, None].mT
    depth = in_camera[..., 2].clamp_min(0.2)
    pixels = seen.focal[:, None, None, None] * in_camera[..., :2] / depth[..., None]
    clicked = pixels + noise.pixels * share[..., None] * torch.randn(pixels.shape, generator=generator)
    swapped = torch.rand(count, frames, 1, generator=generator) < noise.swapped * share
    clicked = torch.where(swapped[..., None], clicked[:, :, list(ACROSS)], clicked)
    outlier = torch.rand(depth.shape, generator=generator) < noise.outliers * share
    clicked = clicked + outlier[..., None] * 60 * torch.randn(pixels.shape, generator=generator)
    known = _known(pixels, share, noise, generator, names) & (in_camera[..., 2] > 0.2)
    trust = torch.where(_chance(0.5, count, generator)[:, None, None], 1.0, _between(0.3, 1.0, depth.shape, generator))
    rays = torch.cat([clicked / seen.focal[:, None, None, None], torch.ones_like(depth)[..., None]], dim=-1)
    ranges = torch.where(
        _measured(depth, generator), _skin_depth(depth, keypoints, generator) * rays.norm(dim=-1), torch.nan
    )
    return Annotated(rays @ seen.world_to_camera[:, None], trust * known, ranges)


def _placed(
    joints: Tensor, lowest: Tensor, lift: Tensor, generator: torch.Generator
) -> Float[Tensor, "person frame 3"]:
    """Compute the shift to 1.5 to 7 m before the camera, with the lowest joint on floor or bed."""
    count, frames = lowest.shape
    middle = joints[:, frames // 2, 0, :2]
    distance = _between(1.5, 7.0, count, generator)
    over = (lowest - joints[..., 2].amin(dim=-1)).median(dim=1, keepdim=True).values + lift
    level = torch.stack([distance - middle[:, 0], -middle[:, 1]], dim=-1)[:, None].expand(-1, frames, -1)
    return torch.cat([level, over[..., None]], dim=-1)


def _see(
    joints: Tensor, turns: Tensor, rotations: Tensor, betas: Tensor, fps: Tensor, generator: torch.Generator
) -> Seen:
    """Draw a camera 1.8 to 3 m high, tilted 0 to 60 degrees down such that it sees the middle of the way."""
    count, frames = joints.shape[:2]
    height = _between(1.8, 3.0, count, generator)
    angle = torch.deg2rad(_between(50.0, 105.0, count, generator)) / 2
    focal = IMAGE_SIZE_PX[0] / 2 / angle.tan()
    middle = joints[:, frames // 2, 0]
    below = torch.atan2(height - middle[:, 2], middle[:, 0])
    upright = torch.atan(IMAGE_SIZE_PX[1] / 2 / focal)
    tilt = (below + 0.8 * upright * _between(-1.0, 1.0, count, generator)).clamp(0, math.radians(60))
    aside = 0.85 * angle * _between(-1.0, 1.0, count, generator)
    sin, cos, zero = tilt.sin(), tilt.cos(), torch.zeros_like(tilt)
    axes = [[zero, zero - 1, zero], [-sin, zero, -cos], [cos, zero, -sin]]
    level = torch.stack([torch.stack(row, dim=-1) for row in axes], dim=-2)
    return Seen(joints, turns, rotations, betas, fps, height, level @ about("z", -aside), focal)


def _known(
    pixels: Tensor, share: Tensor, noise: Noise, generator: torch.Generator, names: str | None
) -> Bool[Tensor, "..."]:
    """Draw which keypoints are annotated: those of a set, inside the image; some, legs or whole frames left out."""
    count, frames, points = pixels.shape[:3]
    sets = torch.zeros(len(KEYPOINT_SETS), points, dtype=torch.bool)
    for row, own in zip(sets, KEYPOINT_SETS.values(), strict=True):
        row[[NAMES.index(ALIASES.get(name, name)) for name in own]] = True
    chosen = torch.randint(len(sets), (count,), generator=generator)
    if names is not None:
        chosen[:] = list(KEYPOINT_SETS).index(names)
    known = sets[chosen][:, None] & (pixels.abs() < torch.tensor(IMAGE_SIZE_PX) / 2).all(dim=-1)
    if noise.dropped == 0:
        return known
    known &= torch.rand(known.shape, generator=generator) > noise.dropped * share
    covered = torch.zeros(points, dtype=torch.bool)
    covered[list(LEGS)] = True
    blanket = _chance(0.15, count, generator)[:, None, None]
    known &= ~(blanket & covered & (torch.rand(known.shape, generator=generator) < 0.9))
    start = torch.randint(-frames, frames, (count, 1), generator=generator)
    stop = start + torch.randint(frames // 2, (count, 1), generator=generator)
    away = (torch.arange(frames) >= start) & (torch.arange(frames) < stop)
    return known & ~(_chance(0.25, count, generator)[:, None] & away)[..., None]


def _measured(depth: Tensor, generator: torch.Generator) -> Bool[Tensor, "..."]:
    """Draw where the skin's depth is known: for most persons in a few frames, for some in many."""
    count, frames = depth.shape[:2]
    share = torch.rand(count, 1, generator=generator) ** 4 * _chance(0.6, count, generator)[:, None]
    measured = (torch.rand(count, frames, generator=generator) < share)[..., None]
    return measured & (torch.rand(depth.shape, generator=generator) < 0.8)


def _skin_depth(depth: Tensor, keypoints: BodyKeypoints, generator: torch.Generator) -> Tensor:
    """Compute the depth of the skin at joints under it and keypoints on it, with errors as of a depth network."""
    inside = SKIN_M * (keypoints.template.norm(dim=-1) == 0)
    count = len(depth)
    scale = (
        1 + 0.02 * torch.randn(count, 1, 1, generator=generator) + 0.01 * torch.randn(depth.shape, generator=generator)
    )
    return (depth - inside) * scale


def _chance(share: float, count: int, generator: torch.Generator) -> Bool[Tensor, " person"]:
    return torch.rand(count, generator=generator) < share


def _between(low: float, high: float, shape: int | torch.Size, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
