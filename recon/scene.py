"""Scene record of a room: a labelled point cloud in the Z-up world (metres), without the persons.

The camera is fixed, so each pixel has one depth, colour and label: those of the key frames in which nobody covers it.
"""

import numpy as np
import open3d as o3d
import torch
from jaxtyping import Bool, Float, Float32, Int8, UInt8

from motion.errors import InputError
from motion.sequence import LABELS, Scene
from recon.camera import Camera, unproject_image
from recon.depth.fusion import grow, median
from recon.teton import PERSON_LABEL

VOXEL_M = 0.03
"""Edge of a voxel in metres; larger where a room would have more than MOST_POINTS points."""
MOST_POINTS = 40_000
STRUCTURE = ("none", "floor", "wall", "door", "window")
"""Labels that are not furniture."""
POINTS_PER_GROUP = 64
"""Number of points in one of the denoiser's scene tokens (`motion.denoiser.scene_tokens`)."""
_STEEPEST_SLOPE = 12.0  # metres of depth per metre across; surfaces seen at less than 5 degrees are smeared edges
_NEIGHBOURS = 16
_OUTLIER_SIGMAS = 3.0


def build_scene(
    scene_id: str,
    images: UInt8[np.ndarray, "keyframe height width 3"],
    masks: UInt8[np.ndarray, "keyframe height width"],
    empty: Float32[np.ndarray, "height width"],
    camera: Camera,
    floor_inlier_ratio: float,
    depth_scale: float,
) -> Scene:
    """Build one voxel-thinned cloud from the key frames of a fixed camera, without outliers and smeared edges.

    `masks` hold the label of each pixel, PERSON_LABEL + k for person k; `empty` is the depth without persons (metres),
    NaN where they always covered the pixel: `recon.depth.fusion.background`. Raises InputError where no pixel shows the
    empty room at a known depth.
    """
    keep = np.isfinite(empty) & ~_smeared(empty, camera)
    if not keep.any():
        raise InputError(
            f"{scene_id}: no pixel shows the empty room at a known depth, expected key frames without people"
        )
    in_camera = unproject_image(torch.from_numpy(empty).to(camera.intrinsics.dtype), camera.intrinsics)
    points = camera.to_world(in_camera).numpy()
    colors, labels = _empty_room(images, masks, grow(masks >= PERSON_LABEL))
    cloud = _thin(points[keep], colors[keep], labels[keep])
    return Scene(
        scene_id,
        *_without_outliers(*cloud),
        intrinsics=camera.intrinsics.float().numpy(),
        extrinsics=camera.extrinsics.float().numpy(),
        image_size=camera.image_size,
        floor_inlier_ratio=floor_inlier_ratio,
        depth_scale=depth_scale,
    )


def object_points(scene: Scene, num_groups: int, seed: int) -> Float32[np.ndarray, "point 3"]:
    """Sample the furniture's points for the denoiser: `num_groups` times 64, or fewer groups for fewer points.

    Farthest point sampling (Eldar et al. 1997) from a point that `seed` picks spreads them evenly over all furniture.
    """
    furniture = scene.points[~np.isin(scene.labels, [LABELS.index(name) for name in STRUCTURE])]
    if len(furniture) == 0:
        return furniture
    count = POINTS_PER_GROUP * min(num_groups, -(-len(furniture) // POINTS_PER_GROUP))
    if count >= len(furniture):
        return np.resize(furniture, (count, 3))  # the last group filled up from the start
    start = int(np.random.default_rng(seed).integers(len(furniture)))
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(furniture.astype(np.float64)))
    return np.asarray(cloud.farthest_point_down_sample(count, start).points, dtype=np.float32)


def _smeared(depth: Float32[np.ndarray, "height width"], camera: Camera) -> Bool[np.ndarray, "height width"]:
    """Mark pixels whose surface is seen nearly edge-on: depth edges, which networks and sensors smear into mid-air."""
    steep = np.zeros(depth.shape, dtype=bool)
    for flags, values, focal in ((steep, depth, camera.intrinsics[1, 1]), (steep.T, depth.T, camera.intrinsics[0, 0])):
        one, other = values[:-1], values[1:]
        edge = np.abs(one - other) * float(focal) > _STEEPEST_SLOPE * np.minimum(one, other)
        flags[:-1] |= edge
        flags[1:] |= edge
    return steep


def _empty_room(
    images: UInt8[np.ndarray, "keyframe height width 3"],
    masks: UInt8[np.ndarray, "keyframe height width"],
    hidden: Bool[np.ndarray, "keyframe height width"],
) -> tuple[UInt8[np.ndarray, "height width 3"], Int8[np.ndarray, "height width"]]:
    """Compute median colour and most frequent label over the key frames in which a pixel is not hidden."""
    colors = median(np.where(hidden[..., None], np.float32(np.nan), images.astype(np.float32)))
    votes = np.stack([((masks == label) & ~hidden).sum(axis=0) for label in range(len(LABELS))])
    return np.nan_to_num(colors).astype(np.uint8), votes.argmax(axis=0).astype(np.int8)


def _thin(
    points: Float[np.ndarray, "point 3"], colors: UInt8[np.ndarray, "point 3"], labels: Int8[np.ndarray, " point"]
) -> tuple[Float32[np.ndarray, "voxel 3"], UInt8[np.ndarray, "voxel 3"], Int8[np.ndarray, " voxel"]]:
    """Keep one point per voxel: mean position and colour of the points with its most frequent label."""
    voxel = _voxels(points)
    votes = np.zeros((voxel.max() + 1, len(LABELS)))
    np.add.at(votes, (voxel, labels), 1)
    winner = votes.argmax(axis=1)
    won = labels == winner[voxel]
    count = votes.max(axis=1)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = [np.bincount(voxel[won], column, minlength=len(votes)) for column in values[won].astype(np.float64).T]
        return np.stack(sums, axis=1) / count[:, None]

    return mean(points).astype(np.float32), np.rint(mean(colors)).astype(np.uint8), winner.astype(np.int8)


def _voxels(points: Float[np.ndarray, "point 3"]) -> np.ndarray:
    """Index each point's voxel; voxels are just large enough that they are not too many."""
    size = VOXEL_M
    while True:
        cells, voxel = np.unique(np.floor(points / size).astype(np.int64), axis=0, return_inverse=True)
        if len(cells) <= MOST_POINTS:
            return voxel.reshape(-1)
        size *= 1.2


def _without_outliers(
    points: Float32[np.ndarray, "point 3"], colors: UInt8[np.ndarray, "point 3"], labels: Int8[np.ndarray, " point"]
) -> tuple[Float32[np.ndarray, "kept 3"], UInt8[np.ndarray, "kept 3"], Int8[np.ndarray, " kept"]]:
    """Drop points much farther from their neighbours than is usual in the room."""
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(np.float64)))
    kept = np.asarray(cloud.remove_statistical_outlier(_NEIGHBOURS, _OUTLIER_SIGMAS)[1])
    return points[kept], colors[kept], labels[kept]
