"""Penetration of persons into each other and into furniture, as capsules (`motion.body.capsules`); metres and litres.

Volumes come from points spread evenly in a capsule, each of which stands for its share of the body.
"""

from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from motion.body.capsules import ENDS, LITRES_PER_M3, Capsules, dot, sample_points, segment_distance
from motion.sequence import LABELS, Scene

TOUCH_M = 0.05  # from skin to scene; closer is contact, as capsules leave out some skin
NUM_NEIGHBOURS = 8
FLOOR_LABEL = LABELS.index("floor")


def person_penetration(
    bodies: Capsules, valid: Bool[np.ndarray, "person frame"]
) -> tuple[Float[np.ndarray, "frame"], Float[np.ndarray, "frame"]]:
    """Compute the litres that persons share, summed over the pairs, and the greatest depth (m) of one in another."""
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
    """Compute how deep each capsule of one person lies in each of another; negative where they are apart.

    The distance of two segments is Ericson's (2005, Real-Time Collision Detection, 5.1.9).
    """
    start, other = bodies.starts[one, frames, :, None], bodies.starts[two, frames, None]
    along, along_other = bodies.ends[one, frames, :, None] - start, bodies.ends[two, frames, None] - other
    apart = start - other
    a, e = dot(along, along) + 1e-12, dot(along_other, along_other) + 1e-12
    b, c, f = dot(along, along_other), dot(along, apart), dot(along_other, apart)
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
    """Compute the litres of person `one` inside person `two`, of the pairs of capsules that touch."""
    frame, capsule = np.nonzero(touching.any(axis=2))
    starts, ends = bodies.starts[one, frames[frame], capsule], bodies.ends[one, frames[frame], capsule]
    points, _ = sample_points(starts, ends, bodies.radii[one, capsule])
    row, other = np.nonzero(touching[frame, capsule])
    at = frames[frame[row]]
    starts, ends = bodies.starts[two, at, other], bodies.ends[two, at, other]
    inside = segment_distance(points[row], starts[:, None], ends[:, None]) < bodies.radii[two, other, None]
    in_any = np.zeros(points.shape[:2], dtype=np.bool_)
    np.logical_or.at(in_any, row, inside)
    volume = np.zeros(len(frames))
    np.add.at(volume, frame, (in_any * bodies.shares[one, capsule]).sum(axis=1))
    return volume


def scene_penetration(
    bodies: Capsules, valid: Bool[np.ndarray, "person frame"], scene: Scene
) -> tuple[Float[np.ndarray, "person frame"], Float[np.ndarray, "person frame"]]:
    """Compute the litres between each person's skin and the scene's surface inside it, and the greatest depth.

    The depth (m) is negative where the scene is at most `TOUCH_M` away and minus infinity beyond. Points are a sample
    of a surface: one stands for the area that its neighbours leave it and, inside a body, for a column as high as it is
    deep. The floor's points do not count.
    """
    volume, depth = np.zeros(valid.shape), np.full(valid.shape, -np.inf)
    points = scene.points[scene.labels != FLOOR_LABEL].astype(np.float64)
    if not len(points) or not valid.any():
        return volume, depth
    tree = cKDTree(points)
    starts, ends = bodies.starts[valid], bodies.ends[valid]
    radii = np.broadcast_to(bodies.radii[:, None], (*valid.shape, len(ENDS)))[valid]
    reach = np.linalg.norm(ends - starts, axis=-1) / 2 + radii + TOUCH_M
    found = tree.query_ball_point(((starts + ends) / 2).reshape(-1, 3), reach.ravel())
    capsule = np.repeat(np.arange(reach.size), [len(indices) for indices in found])
    point = np.concatenate(found).astype(np.intp)
    below = radii.ravel()[capsule] - segment_distance(
        points[point], starts.reshape(-1, 3)[capsule], ends.reshape(-1, 3)[capsule]
    )
    # A point inside several capsules counts once, as deep as in the deepest.
    keys, which = np.unique(capsule // len(ENDS) * len(points) + point, return_inverse=True)
    deepest = np.full(len(keys), -np.inf)
    np.maximum.at(deepest, which, below)
    body, point = np.divmod(keys, len(points))
    columns = LITRES_PER_M3 * _areas(tree)[point] * np.maximum(deepest, 0)
    volume[valid] = np.bincount(body, columns, minlength=len(starts))
    depths = np.full(len(starts), -np.inf)
    near = deepest > -TOUCH_M
    np.maximum.at(depths, body[near], deepest[near])
    depth[valid] = depths
    return volume, depth


def _areas(tree: cKDTree) -> Float[np.ndarray, "point"]:
    """Estimate the square metres of surface for which each point stands, from the distance of its eighth neighbour."""
    neighbours = min(NUM_NEIGHBOURS, tree.n - 1)
    if not neighbours:
        return np.zeros(tree.n)
    return np.pi * tree.query(tree.data, [neighbours + 1])[0][:, 0] ** 2 / neighbours
