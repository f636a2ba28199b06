"""How far people reach into each other and into furniture: capsules about SMPL's bones; metres, volumes in litres.

A person is 24 capsules, the 23 bones and the head, between the joints seen, so that no mesh is skinned. Their
radii are the lower quartile of the skin's distance from the bone: they lie mostly within the skin,
and people who touch do not yet penetrate. Together they hold about three quarters of the mesh's volume.

Volumes come from points spread evenly in a capsule, each of which stands for its share of the body.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from scipy.spatial import cKDTree

from motion.body import Body
from motion.sequence import Scene
from motion.skeleton import BONES, JOINT, PARENTS

STARTS, ENDS = np.array([*BONES, (JOINT["head"], JOINT["head"])]).T
BEFORE_ENDS = np.array(PARENTS)[ENDS]
# Hands, feet and head, where the mesh goes on beyond the last joint.
TIPS = (STARTS == ENDS) | np.isin(ENDS, [*PARENTS, JOINT["head"]], invert=True)
SKIN_QUANTILE = 0.25
NUM_SAMPLES = 64  # the volume that two people share is then right to about 0.4 litres
TOUCH = 0.05  # metres from skin to scene; closer is touching, given what the capsules leave out
NEIGHBOURS = 8
FLOOR_LABEL = 1  # as in the masks of DESIGN section 5
LITRES = 1000.0


@dataclass(frozen=True, eq=False)
class Capsules:
    """Every person's capsules in every frame; `shares` are the litres that the sample points of a capsule stand for."""

    starts: Float[np.ndarray, "person frame 24 3"]
    ends: Float[np.ndarray, "person frame 24 3"]
    radii: Float[np.ndarray, "person 24"]
    shares: Float[np.ndarray, "person 24 sample"]

    def lowest(self) -> Float[np.ndarray, "person frame"]:
        """Height of the lowest point of the skin."""
        return (np.minimum(self.starts, self.ends)[..., 2] - self.radii[:, None]).min(axis=-1)


def fit_capsules(
    joints: Float[np.ndarray, "person frame 24 3"], betas: Float[np.ndarray, "person 10"], body: Body
) -> Capsules:
    """The capsules of persons of this shape about these joints."""
    fits = [_fit(body, rest_skin(body, shape), body.rest_joints(torch.from_numpy(shape)).numpy()) for shape in betas]
    beyond, radii, shares = (np.stack(values).astype(np.float32) for values in zip(*fits, strict=True))
    return Capsules(*_segments(joints, beyond[:, None]), radii, shares)


def rest_skin(body: Body, betas: Float[np.ndarray, "10"]) -> Float[np.ndarray, "vertex 3"]:
    """The mesh in T-pose, in SMPL's frame."""
    return (body.v_template + body.shapedirs @ torch.from_numpy(betas)).numpy()


def _segments(
    joints: Float[np.ndarray, "*batch 24 3"], beyond: Float[np.ndarray, "*#batch 24"]
) -> tuple[Float[np.ndarray, "*batch 24 3"], Float[np.ndarray, "*batch 24 3"]]:
    """Both ends of every capsule's axis, which goes `beyond` the last joint."""
    ends = joints[..., ENDS, :]
    return joints[..., STARTS, :], ends + beyond[..., None] * _unit(ends - joints[..., BEFORE_ENDS, :])


@lru_cache(maxsize=4)
def _parts(body: Body) -> Int[np.ndarray, "vertex"]:
    """The capsule whose bone is nearest to each vertex; what lies beyond the head joint is the head."""
    skin, joints = body.v_template.numpy()[:, None], body.joint_template.numpy()
    part = _distance(skin, *_segments(joints, np.zeros(len(ENDS)))).argmin(axis=1)
    head, neck = joints[JOINT["head"]], joints[JOINT["neck"]]
    of_head = (ENDS[part] == JOINT["head"]) & ((skin[:, 0] - head) @ (head - neck) > 0)
    return np.where(of_head, len(ENDS) - 1, part)


def _fit(
    body: Body, skin: Float[np.ndarray, "vertex 3"], joints: Float[np.ndarray, "24 3"]
) -> tuple[Float[np.ndarray, "24"], Float[np.ndarray, "24"], Float[np.ndarray, "24 sample"]]:
    """How far each capsule goes beyond its last joint, its radius, and its samples' shares of the body."""
    part = _parts(body)
    outward = _unit(joints[ENDS] - joints[BEFORE_ENDS])
    beyond = np.zeros(len(ENDS))
    for capsule in np.flatnonzero(TIPS):
        past = skin[part == capsule] - joints[ENDS[capsule]]
        along = past @ outward[capsule]
        aside = np.linalg.norm(past - along[:, None] * outward[capsule], axis=1)
        beyond[capsule] = max(0.0, along.max() - np.quantile(aside[along > 0], SKIN_QUANTILE))
    starts, ends = _segments(joints, beyond)
    distance = _distance(skin, starts[part], ends[part])
    radii = np.array([np.quantile(distance[part == capsule], SKIN_QUANTILE) for capsule in range(len(ENDS))])
    points, volumes = _samples(starts, ends, radii)
    owners = (_distance(points[:, :, None], starts, ends) < radii).sum(axis=-1)
    return beyond, radii, LITRES * volumes / np.maximum(owners, 1)


def _spread() -> tuple[Float32[np.ndarray, "sample"], Float32[np.ndarray, "sample 2"]]:
    """Evenly spread heights in 0..1 and points of the unit disc, by the R2 sequence (Roberts 2018)."""
    steps = np.arange(NUM_SAMPLES)
    radius = np.sqrt((steps * 0.7548776662 + 0.5) % 1)
    angle = 2 * np.pi * steps * 0.5698402910
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return ((steps + 0.5) / NUM_SAMPLES).astype(np.float32), disc.astype(np.float32)


HEIGHTS, DISC = _spread()


def _samples(
    starts: Float[np.ndarray, "*batch 3"], ends: Float[np.ndarray, "*batch 3"], radii: Float[np.ndarray, "*batch"]
) -> tuple[Float[np.ndarray, "*batch sample 3"], Float[np.ndarray, "*batch sample"]]:
    """Points in capsules, a disc's point at every height, and the volume of its slice."""
    axis = ends - starts
    length, radius = np.linalg.norm(axis, axis=-1, keepdims=True), radii[..., None]
    direction = _unit(axis)
    sideways = _unit(np.cross(direction, np.eye(3, dtype=np.float32)[np.abs(direction).argmin(axis=-1)]))
    height = HEIGHTS * (length + 2 * radius) - radius
    past_end = np.maximum(np.maximum(-height, height - length), 0)
    slice_radius = np.sqrt(np.maximum(radius**2 - past_end**2, 0))
    across = np.stack([sideways, np.cross(direction, sideways)], axis=-2)
    points = (
        starts[..., None, :] + height[..., None] * direction[..., None, :] + slice_radius[..., None] * (DISC @ across)
    )
    return points, np.pi * slice_radius**2 * (length + 2 * radius) / NUM_SAMPLES


def person_penetration(
    bodies: Capsules, valid: Bool[np.ndarray, "person frame"]
) -> tuple[Float[np.ndarray, "frame"], Float[np.ndarray, "frame"]]:
    """Litres that persons share, summed over the pairs, and the greatest depth of one skin in another (m)."""
    volume, depth = np.zeros(valid.shape[1]), np.zeros(valid.shape[1])
    radii = bodies.radii[:, None, :, None]
    low = (np.minimum(bodies.starts, bodies.ends) - radii).min(axis=2)
    high = (np.maximum(bodies.starts, bodies.ends) + radii).max(axis=2)
    for one, two in combinations(range(len(valid)), 2):
        near = (low[one] < high[two]) & (low[two] < high[one])
        frames = np.flatnonzero(near.all(axis=-1) & valid[one] & valid[two])
        if len(frames):
            depths = _pair_depths(bodies, one, two, frames)
            depth[frames] = np.maximum(depth[frames], depths.max(axis=(1, 2), initial=0))
            shared = _volume_inside(bodies, one, two, frames, depths > 0)
            shared += _volume_inside(bodies, two, one, frames, depths.swapaxes(1, 2) > 0)
            volume[frames] += shared / 2
    return volume, depth


def _pair_depths(
    bodies: Capsules, one: int, two: int, frames: Int[np.ndarray, "frame"]
) -> Float[np.ndarray, "frame 24 24"]:
    """How deep each capsule of one person lies in each of another; negative where they are apart.

    The distance of two segments is Ericson's (2005, Real-Time Collision Detection, 5.1.9).
    """
    start, other = bodies.starts[one, frames, :, None], bodies.starts[two, frames, None]
    along, along_other = bodies.ends[one, frames, :, None] - start, bodies.ends[two, frames, None] - other
    apart = start - other
    a, e = _dot(along, along) + 1e-12, _dot(along_other, along_other) + 1e-12
    b, c, f = _dot(along, along_other), _dot(along, apart), _dot(along_other, apart)
    s = np.clip((b * f - c * e) / np.maximum(a * e - b * b, 1e-12), 0, 1)
    t = np.clip((b * s + f) / e, 0, 1)
    s = np.clip((b * t - c) / a, 0, 1)
    gap = np.linalg.norm(apart + s[..., None] * along - t[..., None] * along_other, axis=-1)
    return bodies.radii[one][:, None] + bodies.radii[two] - gap


def _volume_inside(
    bodies: Capsules,
    one: int,
    two: int,
    frames: Int[np.ndarray, "frame"],
    touching: Bool[np.ndarray, "frame 24 24"],
) -> Float[np.ndarray, "frame"]:
    """Litres of person `one` inside person `two`, of the pairs of capsules that touch."""
    frame, capsule = np.nonzero(touching.any(axis=2))
    starts, ends = bodies.starts[one, frames[frame], capsule], bodies.ends[one, frames[frame], capsule]
    points, _ = _samples(starts, ends, bodies.radii[one, capsule])
    row, other = np.nonzero(touching[frame, capsule])
    at = frames[frame[row]]
    starts, ends = bodies.starts[two, at, other], bodies.ends[two, at, other]
    inside = _distance(points[row], starts[:, None], ends[:, None]) < bodies.radii[two, other, None]
    in_any = np.zeros(points.shape[:2], dtype=np.bool_)
    np.logical_or.at(in_any, row, inside)
    volume = np.zeros(len(frames))
    np.add.at(volume, frame, (in_any * bodies.shares[one, capsule]).sum(axis=1))
    return volume


def scene_penetration(
    bodies: Capsules, valid: Bool[np.ndarray, "person frame"], scene: Scene
) -> tuple[Float[np.ndarray, "person frame"], Float[np.ndarray, "person frame"]]:
    """Litres between each person's skin and the scene's surface inside it, and that surface's greatest depth (m).

    The depth is negative where the scene is at most `TOUCH` away and minus infinity beyond. Points are a sample
    of a surface: one stands for the area that its neighbours leave it and, inside a body, for a column as high as
    it is deep. The floor's points do not count.
    """
    volume, depth = np.zeros(valid.shape), np.full(valid.shape, -np.inf)
    points = scene.points[scene.labels != FLOOR_LABEL].astype(np.float64)
    if not len(points) or not valid.any():
        return volume, depth
    tree = cKDTree(points)
    starts, ends = bodies.starts[valid], bodies.ends[valid]
    radii = np.broadcast_to(bodies.radii[:, None], (*valid.shape, len(ENDS)))[valid]
    reach = np.linalg.norm(ends - starts, axis=-1) / 2 + radii + TOUCH
    found = tree.query_ball_point(((starts + ends) / 2).reshape(-1, 3), reach.ravel())
    capsule = np.repeat(np.arange(reach.size), [len(indices) for indices in found])
    point = np.concatenate(found).astype(np.intp)
    below = radii.ravel()[capsule] - _distance(
        points[point], starts.reshape(-1, 3)[capsule], ends.reshape(-1, 3)[capsule]
    )
    # A point inside several capsules counts once, as deep as in the deepest.
    keys, which = np.unique(capsule // len(ENDS) * len(points) + point, return_inverse=True)
    deepest = np.full(len(keys), -np.inf)
    np.maximum.at(deepest, which, below)
    body, point = np.divmod(keys, len(points))
    columns = LITRES * _areas(tree)[point] * np.maximum(deepest, 0)
    volume[valid] = np.bincount(body, columns, minlength=len(starts))
    depths = np.full(len(starts), -np.inf)
    near = deepest > -TOUCH
    np.maximum.at(depths, body[near], deepest[near])
    depth[valid] = depths
    return volume, depth


def _areas(tree: cKDTree) -> Float[np.ndarray, "point"]:
    """Square metres of surface for which each point stands, from the distance of its eighth neighbour."""
    neighbours = min(NEIGHBOURS, tree.n - 1)
    if not neighbours:
        return np.zeros(tree.n)
    return np.pi * tree.query(tree.data, [neighbours + 1])[0][:, 0] ** 2 / neighbours


def _distance(
    points: Float[np.ndarray, "*#points 3"],
    starts: Float[np.ndarray, "*#points 3"],
    ends: Float[np.ndarray, "*#points 3"],
) -> Float[np.ndarray, "*points"]:
    """Distance of points from segments."""
    axis, offset = ends - starts, points - starts
    along = np.clip(_dot(offset, axis) / (_dot(axis, axis) + 1e-12), 0, 1)
    offset -= along[..., None] * axis
    return np.sqrt(_dot(offset, offset))


def _dot(one: Float[np.ndarray, "*#batch 3"], two: Float[np.ndarray, "*#batch 3"]) -> Float[np.ndarray, "*batch"]:
    return np.einsum("...i,...i->...", one, two)


def _unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12)
