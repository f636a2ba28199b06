"""Terms that keep bodies out of each other and out of the room's things; capsules about bones, metres."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from motion.errors import InputError
from motion.guidance.terms.figure import Figure
from motion.guidance.terms.term import Term, half_square_beyond, summed

GAP_M = 0.01  # left between two persons
MAX_CONTACTS = 32  # per pair and frame, the deepest; more say the same
FADE_M = 0.06  # from the depth of the deepest ignored contact to that of a full pull
SOFT_LENGTH = 0.3  # sums of unit vectors shorter than this are hardly directions
PARALLEL_SIN2 = 0.03  # segments at a smaller angle count as parallel
PASSING_DISTANCE_M = 0.45  # from pelvis to pelvis when two persons pass each other
NUM_DIRECTIONS = 16  # horizontal ways out that are compared
SHORTEST_M2 = 1e-8  # so that an axis of no length is a point

VOXEL_M = 0.05
SLOPE_SPAN_M = 0.1  # to both sides, for the slope of the distance
MARGIN_M = 0.6  # free space about the room's points
SOLID_BELOW_M = 1.2  # what is lower, as furniture, is solid down to the floor; walls and lamps are surfaces
MAX_VOXELS = 2**24


@dataclass(frozen=True, eq=False, repr=False)
class ApartFromPeople(Term):
    """Penalty on capsules of different persons that overlap.

    The way out of a deep overlap is unclear from the capsules, and so it is for persons at the same place: such pairs
    are pushed along the one horizontal direction that parts the two persons at the least cost over the whole clip.
    """

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Sum the overlap energies over all pairs of persons."""
        starts, ends = figure.capsules()
        axes = [_Axes(starts[:, person], ends[:, person]) for person in range(starts.shape[1])]
        total = torch.zeros_like(figure.joints[:, 0, 0, 0, 0])
        for one, two in combinations(range(len(axes)), 2):
            total = total + _pair_energy(figure, axes[one], axes[two], one, two)
        return total


@dataclass(frozen=True, eq=False)
class _Axes:
    """Segments, broadcast against others or picked from them."""

    starts: Float[Tensor, "*shape 3"]
    ends: Float[Tensor, "*shape 3"]

    def at(self, share: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
        return self.starts + share[..., None] * (self.ends - self.starts)

    def pick(self, which: Int[Tensor, "batch frame contact"]) -> "_Axes":
        index = which[..., None].expand(*which.shape, 3)
        return _Axes(self.starts.gather(-2, index), self.ends.gather(-2, index))

    def across(self, axis: int) -> "_Axes":
        return _Axes(self.starts.unsqueeze(axis), self.ends.unsqueeze(axis))


def _pair_energy(figure: Figure, mine: _Axes, theirs: _Axes, one: int, two: int) -> Float[Tensor, " batch"]:
    """Sum the energies of the deepest contacts in each frame.

    The contacts' places on the capsules need no gradient (envelope theorem).
    """
    radii = figure.body_shape.radii
    reach = (radii[:, one, :, None] + radii[:, two, None] + GAP_M)[:, None]
    with torch.no_grad():
        rows, columns = mine.across(-2), theirs.across(-3)
        s, t = _closest(rows, columns)
        overlap = reach - (rows.at(s) - columns.at(t)).norm(dim=-1)
        depth, which = overlap.flatten(-2).topk(MAX_CONTACTS + 1, dim=-1)
        share = ((depth[..., :-1] - depth[..., -1:]) / FADE_M).clamp_max(1).square()
        depth, which = depth[..., :-1], which[..., :-1]
        s, t, reach = (each.expand_as(overlap).flatten(-2).gather(-1, which) for each in (s, t, reach))
        axis = _way_out(figure, one, two)[:, None, None]
    mine, theirs = mine.pick(which // radii.shape[-1]), theirs.pick(which % radii.shape[-1])
    apart = mine.at(s) - theirs.at(t)
    deep = (depth / reach).clamp(0, 1)[..., None]
    normal = _unit((1 - deep) * normalize(apart.detach(), dim=-1) + deep * axis)
    left = reach - (apart * normal).sum(dim=-1)
    both = (figure.valid[:, one] & figure.valid[:, two])[..., None]
    return summed(share * half_square_beyond(left), both.expand_as(left))


def _unit(vector: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Normalize a direction, but shorten one that is nearly zero: a near-zero direction flips under rounding."""
    return vector * ((1 + SOFT_LENGTH**2) / (vector.square().sum(dim=-1, keepdim=True) + SOFT_LENGTH**2)).sqrt()


def _closest(one: _Axes, two: _Axes) -> tuple[Float[Tensor, "*pairs"], Float[Tensor, "*pairs"]]:
    """Find the closest points of two segments as shares of their lengths (Ericson 2005, 5.1.9).

    Parallel segments share a whole range of them: the middle is taken.
    """
    along, along_other, apart = one.ends - one.starts, two.ends - two.starts, one.starts - two.starts
    a, e = along.square().sum(dim=-1) + SHORTEST_M2, along_other.square().sum(dim=-1) + SHORTEST_M2
    b, c, f = ((u * v).sum(dim=-1) for u, v in ((along, along_other), (along, apart), (along_other, apart)))
    middle = PARALLEL_SIN2 * a * e
    s = ((b * f - c * e + middle / 2) / (a * e - b * b + middle)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    return ((b * t - c) / a).clamp(0, 1), t


def _way_out(figure: Figure, one: int, two: int) -> Float[Tensor, "batch 3"]:
    """Choose the horizontal unit vector that moves `one` out of `two` at the least cost over all frames."""
    angle = torch.arange(NUM_DIRECTIONS, device=figure.joints.device) * (2 * math.pi / NUM_DIRECTIONS)
    ways = torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=-1).to(figure.joints)
    apart = figure.joints[:, one, :, 0] - figure.joints[:, two, :, 0]
    near = figure.valid[:, one] & figure.valid[:, two] & (apart[..., :2].norm(dim=-1) < PASSING_DISTANCE_M)
    cost = ((PASSING_DISTANCE_M - apart @ ways.T).clamp_min(0).square() * near[..., None]).sum(dim=1)
    return ways[cost.argmin(dim=-1)]


@dataclass(frozen=True, eq=False, repr=False)
class OutOfScene(Term):
    """Penalty on capsules that reach into the room's things.

    The room is given as signed distances on a grid of `VOXEL_M`, in metres, negative inside (`distance_fields`).
    """

    distances: Float[Tensor, "batch z y x"]
    """Signed distances in metres at the voxels' centres, axes (z, y, x)."""
    origin: Float[Tensor, "batch 3"]
    """World (x, y, z) of the first voxel's centre."""

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        """Sum the penetration energies of three points on each capsule's axis."""
        starts, ends = figure.capsules()
        points = torch.stack([starts, (starts + ends) / 2, ends], dim=-2)
        gap = self._distance(points) - figure.body_shape.radii[:, :, None, :, None]
        inside = VOXEL_M / 2 - gap  # surfaces are known to half a voxel
        return summed(half_square_beyond(inside), figure.valid[..., None, None].expand_as(inside))

    def _distance(self, points: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
        """Interpolate the distance linearly about each point.

        The grid's own interpolation has kinks at the voxels, which central differences over `SLOPE_SPAN_M` smooth.
        """
        with torch.no_grad():
            here, steps = points.detach(), SLOPE_SPAN_M * torch.eye(3).to(points)
            rises = [self._sampled(here + step) - self._sampled(here - step) for step in steps]
            found, slope = self._sampled(here), torch.stack(rises, dim=-1) / (2 * SLOPE_SPAN_M)
        return found + (slope * (points - here)).sum(dim=-1)

    def _sampled(self, points: Float[Tensor, "batch *shape 3"]) -> Float[Tensor, "batch *shape"]:
        size = self.distances.new_tensor(self.distances.shape[:0:-1])
        grid = 2 * (points - self.origin[:, None, None, None, None]) / (VOXEL_M * (size - 1)) - 1
        grid = grid.flatten(1, 3)[:, :, :, None]
        found = grid_sample(self.distances[:, None], grid, padding_mode="border", align_corners=True)
        return found.view(points.shape[:-1])


def distance_fields(
    rooms: Sequence[Float[np.ndarray, "_ 3"]],
) -> tuple[Float[Tensor, "batch z y x"], Float[Tensor, "batch 3"]]:
    """Build `OutOfScene.distances` and `.origin` from points of surfaces (not the floor's), a room for each sample.

    A room may have no points. Space below a point lower than `SOLID_BELOW_M` is solid: a bed is seen from above only.
    Raises InputError where the rooms' extent needs more than `MAX_VOXELS`.
    """
    bounds = [_bounds(points) for points in rooms]
    shape = tuple(np.max([shape for _, shape in bounds], axis=0).tolist())
    if math.prod(shape) > MAX_VOXELS:
        metres = " x ".join(f"{VOXEL_M * length:.0f}" for length in shape)
        raise InputError(
            f"a room's points span {metres} m, expected at most {MAX_VOXELS} voxels of {VOXEL_M} m: crop it"
        )
    fields = [_distances(points, origin, shape) for points, (origin, _) in zip(rooms, bounds, strict=True)]
    origins = np.stack([origin for origin, _ in bounds])
    return torch.from_numpy(np.stack(fields)), torch.from_numpy(origins.astype(np.float32))


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the first voxel's centre and the number of voxels along x, y and z."""
    if not len(points):
        return np.zeros(3), np.full(3, 2)
    low, high = np.append(points.min(axis=0)[:2], 0.0) - MARGIN_M, points.max(axis=0) + MARGIN_M
    return low, np.ceil((high - low) / VOXEL_M).astype(int) + 1


def _distances(points: np.ndarray, origin: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if not len(points):
        return np.full(shape[::-1], MARGIN_M, dtype=np.float32)
    x, y, z = np.rint((points - origin) / VOXEL_M).astype(int).T.clip(0)
    solid = np.zeros(shape, dtype=np.bool_)
    solid[x, y, z] = True
    low = points[:, 2] < SOLID_BELOW_M
    top = np.zeros(shape[:2], dtype=int)
    np.maximum.at(top, (x[low], y[low]), z[low])
    solid |= (np.arange(shape[2]) <= top[..., None]) & (top[..., None] > 0)
    outside, inside = distance_transform_edt(~solid), distance_transform_edt(solid)
    return (VOXEL_M * (outside - inside)).transpose(2, 1, 0).astype(np.float32)
