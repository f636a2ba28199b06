"""Capsules about SMPL's bones as bodies; metres, volumes in litres.

A person is 24 capsules, the 23 bones and the head, between the joints seen, so that no mesh is skinned. Their radii are
the lower quartile of the skin's distance from the bone: they lie mostly within the skin, and persons in contact do not
yet penetrate. Together they hold about three quarters of the mesh's volume.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from motion.body.smpl_body import Body
from motion.skeleton import BONES, JOINT, PARENTS

STARTS, ENDS = np.array([*BONES, (JOINT["head"], JOINT["head"])]).T
BEFORE_ENDS = np.array(PARENTS)[ENDS]
# Hands, feet and head, where the mesh goes on beyond the last joint.
TIPS = (STARTS == ENDS) | np.isin(ENDS, [*PARENTS, JOINT["head"]], invert=True)
SKIN_QUANTILE = 0.25
NUM_SAMPLES = 64  # the volume that two persons share is then right to about 0.4 litres
LITRES_PER_M3 = 1000.0


@dataclass(frozen=True, eq=False)
class Capsules:
    """Capsules of every person in every frame."""

    starts: Float[np.ndarray, "person frame 24 3"]
    """Start of each axis, metres."""
    ends: Float[np.ndarray, "person frame 24 3"]
    """End of each axis, metres."""
    radii: Float[np.ndarray, "person 24"]
    """Radius of each capsule, metres."""
    shares: Float[np.ndarray, "person 24 sample"]
    """Litres of the body that each sample point of a capsule stands for."""

    def lowest(self) -> Float[np.ndarray, "person frame"]:
        """Compute the height of the lowest point of the skin."""
        return (np.minimum(self.starts, self.ends)[..., 2] - self.radii[:, None]).min(axis=-1)


def fit_capsules(
    joints: Float[np.ndarray, "person frame 24 3"], betas: Float[np.ndarray, "person 10"], body: Body
) -> Capsules:
    """Fit capsules of persons of this shape about these joints."""
    fits = [_fit(body, rest_skin(body, shape), body.rest_joints(torch.from_numpy(shape)).numpy()) for shape in betas]
    beyond, radii, shares = (np.stack(values).astype(np.float32) for values in zip(*fits, strict=True))
    return Capsules(*_segments(joints, beyond[:, None]), radii, shares)


def rest_skin(body: Body, betas: Float[np.ndarray, "10"]) -> Float[np.ndarray, "vertex 3"]:
    """Compute the mesh in T-pose, in SMPL's frame (m)."""
    return (body.v_template + body.shapedirs @ torch.from_numpy(betas)).numpy()


def heights_over_sole(body: Body, betas: Float[np.ndarray, "person 10"]) -> Float[np.ndarray, "person 24"]:
    """Measure how high each joint of the T-pose lies over the sole, which is the lowest skin; metres."""
    soles = np.array([rest_skin(body, shape)[:, 1].min() for shape in betas])
    return body.rest_joints(torch.from_numpy(betas)).numpy()[..., 1] - soles[:, None]


def _segments(
    joints: Float[np.ndarray, "*batch 24 3"], beyond: Float[np.ndarray, "*#batch 24"]
) -> tuple[Float[np.ndarray, "*batch 24 3"], Float[np.ndarray, "*batch 24 3"]]:
    """Compute both ends of every capsule's axis, which goes `beyond` the last joint."""
    ends = joints[..., ENDS, :]
    return joints[..., STARTS, :], ends + beyond[..., None] * unit(ends - joints[..., BEFORE_ENDS, :])


@lru_cache(maxsize=4)
def _parts(body: Body) -> Int[np.ndarray, "vertex"]:
    """Assign each vertex to the capsule whose bone is nearest; vertices beyond the head joint are the head."""
    skin, joints = body.v_template.numpy()[:, None], body.joint_template.numpy()
    part = segment_distance(skin, *_segments(joints, np.zeros(len(ENDS)))).argmin(axis=1)
    head, neck = joints[JOINT["head"]], joints[JOINT["neck"]]
    of_head = (ENDS[part] == JOINT["head"]) & ((skin[:, 0] - head) @ (head - neck) > 0)
    return np.where(of_head, len(ENDS) - 1, part)


def _fit(
    body: Body, skin: Float[np.ndarray, "vertex 3"], joints: Float[np.ndarray, "24 3"]
) -> tuple[Float[np.ndarray, "24"], Float[np.ndarray, "24"], Float[np.ndarray, "24 sample"]]:
    """Fit one person: how far capsules go beyond their last joint, their radii, and their samples' shares."""
    part = _parts(body)
    outward = unit(joints[ENDS] - joints[BEFORE_ENDS])
    beyond = np.zeros(len(ENDS))
    for capsule in np.flatnonzero(TIPS):
        past = skin[part == capsule] - joints[ENDS[capsule]]
        along = past @ outward[capsule]
        aside = np.linalg.norm(past - along[:, None] * outward[capsule], axis=1)
        beyond[capsule] = max(0.0, along.max() - np.quantile(aside[along > 0], SKIN_QUANTILE))
    starts, ends = _segments(joints, beyond)
    distance = segment_distance(skin, starts[part], ends[part])
    radii = np.array([np.quantile(distance[part == capsule], SKIN_QUANTILE) for capsule in range(len(ENDS))])
    points, volumes = sample_points(starts, ends, radii)
    owners = (segment_distance(points[:, :, None], starts, ends) < radii).sum(axis=-1)
    return beyond, radii, LITRES_PER_M3 * volumes / np.maximum(owners, 1)


def _spread() -> tuple[Float32[np.ndarray, "sample"], Float32[np.ndarray, "sample 2"]]:
    """Spread heights in 0..1 and points of the unit disc evenly, by the R2 sequence (Roberts 2018)."""
    steps = np.arange(NUM_SAMPLES)
    radius = np.sqrt((steps * 0.7548776662 + 0.5) % 1)
    angle = 2 * np.pi * steps * 0.5698402910
    disc = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return ((steps + 0.5) / NUM_SAMPLES).astype(np.float32), disc.astype(np.float32)


SAMPLE_HEIGHTS, DISC = _spread()


def sample_points(
    starts: Float[np.ndarray, "*batch 3"], ends: Float[np.ndarray, "*batch 3"], radii: Float[np.ndarray, "*batch"]
) -> tuple[Float[np.ndarray, "*batch sample 3"], Float[np.ndarray, "*batch sample"]]:
    """Compute points that fill capsules (m), one at each of `NUM_SAMPLES` heights, and the volume (m³) of its slice."""
    axis = ends - starts
    length, radius = np.linalg.norm(axis, axis=-1, keepdims=True), radii[..., None]
    direction = unit(axis)
    sideways = unit(np.cross(direction, np.eye(3, dtype=np.float32)[np.abs(direction).argmin(axis=-1)]))
    height = SAMPLE_HEIGHTS * (length + 2 * radius) - radius
    past_end = np.maximum(np.maximum(-height, height - length), 0)
    slice_radius = np.sqrt(np.maximum(radius**2 - past_end**2, 0))
    across = np.stack([sideways, np.cross(direction, sideways)], axis=-2)
    points = (
        starts[..., None, :] + height[..., None] * direction[..., None, :] + slice_radius[..., None] * (DISC @ across)
    )
    return points, np.pi * slice_radius**2 * (length + 2 * radius) / NUM_SAMPLES


def segment_distance(
    points: Float[np.ndarray, "*#points 3"],
    starts: Float[np.ndarray, "*#points 3"],
    ends: Float[np.ndarray, "*#points 3"],
) -> Float[np.ndarray, "*points"]:
    """Compute the distance of points from segments."""
    axis, offset = ends - starts, points - starts
    along = np.clip(dot(offset, axis) / (dot(axis, axis) + 1e-12), 0, 1)
    offset -= along[..., None] * axis
    return np.sqrt(dot(offset, offset))


def dot(one: Float[np.ndarray, "*#batch 3"], two: Float[np.ndarray, "*#batch 3"]) -> Float[np.ndarray, "*batch"]:
    """Compute the dot products of vectors."""
    return np.einsum("...i,...i->...", one, two)


def unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    """Scale vectors to length 1; a vector of length 0 stays 0."""
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12)
