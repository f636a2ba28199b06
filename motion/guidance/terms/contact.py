"""The terms that keep bodies out of each other and out of the room's things; capsules about bones, metres."""

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

GAP = 0.01  # metres that are left between two people
CONTACTS = 32  # of two people in a frame, the deepest, which pull; more only say the same
FADE = 0.06  # metres by which a contact is deeper than the deepest that does not pull until it pulls fully
UNCLEAR = 0.3  # length of a sum of unit vectors below which it is hardly a direction
PARALLEL = 0.03  # sine squared of the angle below which segments count as parallel
ABREAST = 0.45  # metres from pelvis to pelvis at which two people pass each other
DIRECTIONS = 16
SHORTEST = 1e-8  # square metres, so that an axis of no length is a point

VOXEL = 0.05  # metres
ACROSS = 0.1  # metres to both sides that tell a distance's slope
AROUND = 0.6  # metres of free space about the room's points
SOLID_BELOW = 1.2  # metres: what is lower, as furniture, is solid down to the floor; walls and lamps are surfaces
LARGEST_ROOM = 2**24  # voxels


@dataclass(frozen=True, eq=False)
class ApartFromPeople(Term):
    """Capsules of different persons do not meet.

    Capsules that cross deeply say little about the way out, and those who stand in one place nothing: they are
    pushed along the one horizontal direction that parts the two persons at the least cost over the whole clip.
    """

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
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
    """Of the deepest contacts in each frame. Where on the capsules they are needs no gradient (envelope theorem)."""
    radii = figure.physique.radii
    reach = (radii[:, one, :, None] + radii[:, two, None] + GAP)[:, None]
    with torch.no_grad():
        rows, columns = mine.across(-2), theirs.across(-3)
        s, t = _closest(rows, columns)
        overlap = reach - (rows.at(s) - columns.at(t)).norm(dim=-1)
        depth, which = overlap.flatten(-2).topk(CONTACTS + 1, dim=-1)
        share = ((depth[..., :-1] - depth[..., -1:]) / FADE).clamp_max(1).square()
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
    """Shorter for what is hardly a direction, as next to none it would turn around at once."""
    return vector * ((1 + UNCLEAR**2) / (vector.square().sum(dim=-1, keepdim=True) + UNCLEAR**2)).sqrt()


def _closest(one: _Axes, two: _Axes) -> tuple[Float[Tensor, "*pairs"], Float[Tensor, "*pairs"]]:
    """Shares of two segments at their closest points (Ericson 2005, 5.1.9), of parallel ones about the middle."""
    along, along_other, apart = one.ends - one.starts, two.ends - two.starts, one.starts - two.starts
    a, e = along.square().sum(dim=-1) + SHORTEST, along_other.square().sum(dim=-1) + SHORTEST
    b, c, f = ((u * v).sum(dim=-1) for u, v in ((along, along_other), (along, apart), (along_other, apart)))
    middle = PARALLEL * a * e
    s = ((b * f - c * e + middle / 2) / (a * e - b * b + middle)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    return ((b * t - c) / a).clamp(0, 1), t


def _way_out(figure: Figure, one: int, two: int) -> Float[Tensor, "batch 3"]:
    """The horizontal unit vector along which `one` leaves `two` with the least squared way, all frames together."""
    angle = torch.arange(DIRECTIONS, device=figure.joints.device) * (2 * math.pi / DIRECTIONS)
    ways = torch.stack([angle.cos(), angle.sin(), 0 * angle], dim=-1).to(figure.joints)
    apart = figure.joints[:, one, :, 0] - figure.joints[:, two, :, 0]
    near = figure.valid[:, one] & figure.valid[:, two] & (apart[..., :2].norm(dim=-1) < ABREAST)
    cost = ((ABREAST - apart @ ways.T).clamp_min(0).square() * near[..., None]).sum(dim=1)
    return ways[cost.argmin(dim=-1)]


@dataclass(frozen=True, eq=False)
class OutOfScene(Term):
    """Capsules do not reach into the room's things, given as signed distances on a grid (negative inside)."""

    distances: Float[Tensor, "batch z y x"]
    origin: Float[Tensor, "batch 3"]
    """World (x, y, z) of the first voxel's centre."""

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        starts, ends = figure.capsules()
        points = torch.stack([starts, (starts + ends) / 2, ends], dim=-2)
        gap = self._distance(points) - figure.physique.radii[:, :, None, :, None]
        inside = VOXEL / 2 - gap  # surfaces are known to half a voxel
        return summed(half_square_beyond(inside), figure.valid[..., None, None].expand_as(inside))

    def _distance(self, points: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
        """Linear about the points; that of the grid has kinks at the voxels, which differences across some smooth."""
        with torch.no_grad():
            here, steps = points.detach(), ACROSS * torch.eye(3).to(points)
            rises = [self._sampled(here + step) - self._sampled(here - step) for step in steps]
            found, slope = self._sampled(here), torch.stack(rises, dim=-1) / (2 * ACROSS)
        return found + (slope * (points - here)).sum(dim=-1)

    def _sampled(self, points: Float[Tensor, "batch *shape 3"]) -> Float[Tensor, "batch *shape"]:
        size = self.distances.new_tensor(self.distances.shape[:0:-1])
        grid = 2 * (points - self.origin[:, None, None, None, None]) / (VOXEL * (size - 1)) - 1
        grid = grid.flatten(1, 3)[:, :, :, None]
        found = grid_sample(self.distances[:, None], grid, padding_mode="border", align_corners=True)
        return found.view(points.shape[:-1])


def distance_fields(
    rooms: Sequence[Float[np.ndarray, "_ 3"]],
) -> tuple[Float[Tensor, "batch z y x"], Float[Tensor, "batch 3"]]:
    """`OutOfScene.distances` and `.origin` of points of surfaces (not the floor's), a room for each sample.

    A room may have no points. What lies below a point lower than `SOLID_BELOW` is solid: a bed seen from above.
    """
    bounds = [_bounds(points) for points in rooms]
    shape = tuple(np.max([shape for _, shape in bounds], axis=0).tolist())
    if math.prod(shape) > LARGEST_ROOM:
        metres = " x ".join(f"{VOXEL * length:.0f}" for length in shape)
        raise InputError(
            f"a room's points span {metres} m, expected at most {LARGEST_ROOM} voxels of {VOXEL} m: crop it"
        )
    fields = [_distances(points, origin, shape) for points, (origin, _) in zip(rooms, bounds, strict=True)]
    origins = np.stack([origin for origin, _ in bounds])
    return torch.from_numpy(np.stack(fields)), torch.from_numpy(origins.astype(np.float32))


def _bounds(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first voxel's centre and how many there are along x, y and z."""
    if not len(points):
        return np.zeros(3), np.full(3, 2)
    low, high = np.append(points.min(axis=0)[:2], 0.0) - AROUND, points.max(axis=0) + AROUND
    return low, np.ceil((high - low) / VOXEL).astype(int) + 1


def _distances(points: np.ndarray, origin: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if not len(points):
        return np.full(shape[::-1], AROUND, dtype=np.float32)
    x, y, z = np.rint((points - origin) / VOXEL).astype(int).T.clip(0)
    solid = np.zeros(shape, dtype=np.bool_)
    solid[x, y, z] = True
    low = points[:, 2] < SOLID_BELOW
    top = np.zeros(shape[:2], dtype=int)
    np.maximum.at(top, (x[low], y[low]), z[low])
    solid |= (np.arange(shape[2]) <= top[..., None]) & (top[..., None] > 0)
    outside, inside = distance_transform_edt(~solid), distance_transform_edt(solid)
    return (VOXEL * (outside - inside)).transpose(2, 1, 0).astype(np.float32)
