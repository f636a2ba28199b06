"""Empty room of a sequence, as its fixed camera sees it, and its scene record: a labelled point cloud.

World: Z up, floor z = 0, metres, the origin on the floor below the camera. The camera is fixed, so each pixel has one
depth, colour and label: those of the key frames in which nobody covers it.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import open3d as o3d
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int8, UInt8

from motion.errors import InputError
from motion.features import POINTS_PER_GROUP
from motion.sequence import LABELS, Scene
from recon.calibration import (
    HEIGHT_M,
    HEIGHT_SPREAD_M,
    Calibration,
    Edges,
    attitude_by_depth,
    attitude_by_edges,
    estimate_intrinsics,
    focal_by_edges,
    strongest_edges,
)
from recon.camera import Camera, unproject_image
from recon.depth import DepthFusion, fuse
from recon.depth.fusion import COMMON_ERROR_FACTOR, background, grow, median, refit
from recon.floor import LARGEST_LEAN_DEG, Plane, extrinsics, find_floor, fit_floor
from recon.teton import PERSON_LABEL, TetonSequence

VOXEL_M = 0.03
"""Edge of a voxel in metres; larger where a room would have more than MOST_POINTS points."""
MOST_POINTS = 40_000
SENSOR_ERROR = 0.005
"""Standard deviation of measured depth, relative to the depth: 1.5 cm at 3 m, as of time-of-flight cameras."""
STRUCTURE = ("none", "floor", "wall", "door", "window")
"""Labels that are not furniture."""
_STEEPEST_SLOPE = 12.0  # metres of depth per metre across; surfaces seen at less than 5 degrees are smeared edges
_NEIGHBOURS = 16
_FLOOR_BAND_M = 0.1  # from the floor that depth shows, within which points tell its height
_FOUND_FLOOR_BAND_M = 0.05  # from a floor that was found, within which pixels show it
_ROUGH_LEAN_DEG = 15.0  # of a floor in networks' depth against their walls; edges and persons correct its tilt
_OUTLIER_SIGMAS = 3.0


@dataclass(frozen=True, eq=False)
class Room:
    """Empty room as the camera sees it: camera, floor plane (in the camera's frame) and depth (metres)."""

    camera: Camera
    """Camera, whose extrinsics put the floor at z = 0."""
    floor: Plane
    """Floor plane in the camera's frame."""
    depth: Float32[np.ndarray, "keyframe height width"]
    """Fused depth of each key frame, persons included; NaN where unknown."""
    background: Float32[np.ndarray, "height width"]
    """Depth without persons; NaN where persons always covered the pixel."""
    fusion: DepthFusion
    """Line from disparity to inverse depth, which gave `depth`."""
    calibration: Calibration | None
    """Estimated intrinsics; None where the annotations have their own."""
    error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Standard deviations of the floor's tilt and roll (radians) and of the room's size (relative)."""

    def points(self) -> Float[np.ndarray, "height width 3"]:
        """Compute the world position (metres) of the empty room's surface that each pixel shows; NaN where unknown."""
        intrinsics = self.camera.intrinsics
        in_camera = unproject_image(torch.from_numpy(self.background).to(intrinsics.dtype), intrinsics)
        return self.camera.to_world(in_camera).numpy()


def build_room(
    sequence: TetonSequence,
    disparity: Float[np.ndarray, "keyframe height width"],
    metric: Float[np.ndarray, "keyframe low_height low_width"],
    images: UInt8[np.ndarray, "keyframe height width 3"],
    masks: UInt8[np.ndarray, "keyframe height width"],
) -> Room:
    """Fuse the depth of all key frames, remove the persons, and place the camera over the floor.

    `disparity` is the relative network's answer (larger = nearer), `metric` the metric one's in metres; `masks` hold
    the label of each pixel, PERSON_LABEL + k for person k. The floor's tilt is that of depth, corrected by the edges
    of the images as far as depth is uncertain. Raises InputError where depth, floor or camera are implausible.
    """
    people = masks >= PERSON_LABEL
    fusion = _fused(sequence, disparity, metric)
    depth = fusion.depth(disparity)
    empty = background(depth, people)
    on_floor = (np.where(people, 0, masks) == LABELS.index("floor")).any(axis=0) & np.isfinite(empty)
    hidden = grow(people)
    picture, _ = _empty_room(images, masks, hidden)

    def look(intrinsics: Float[torch.Tensor, "3 3"]) -> tuple[Float[np.ndarray, "point 3"], Plane, Edges]:
        points = unproject_image(torch.from_numpy(empty), intrinsics).numpy()[on_floor]
        return points, fit_floor(points), strongest_edges(picture, np.logical_and.reduce(hidden), intrinsics)

    calibration = None
    if sequence.intrinsics is None:
        calibration = estimate_intrinsics(sequence)
        _, seen, edges = look(calibration.intrinsics)
        calibration = focal_by_edges(edges, attitude_by_depth(seen.normal, fusion.error), calibration)
    intrinsics = calibration.intrinsics if calibration else torch.from_numpy(sequence.intrinsics).float()
    points, seen, edges = look(intrinsics)
    attitude = attitude_by_edges(edges, attitude_by_depth(seen.normal, fusion.error))
    if calibration:
        attitude = attitude.with_unsure_focal_length(calibration.relative_error)
    height, height_error = _camera_height(seen, attitude.normal, points, fusion.error)
    floor = replace(seen, normal=attitude.normal, offset=height)
    camera = Camera(intrinsics, torch.from_numpy(extrinsics(floor)).float(), sequence.image_size)
    error = (*attitude.spread.tolist(), height_error / height)
    return over_floor(Room(camera, floor, depth, empty, fusion, calibration, error), camera, disparity, masks)


def _fused(
    sequence: TetonSequence,
    disparity: Float[np.ndarray, "keyframe height width"],
    metric: Float[np.ndarray, "keyframe low_height low_width"],
) -> DepthFusion:
    """Fuse two networks' depth; measured depth, which is both, has the error of its sensor."""
    fusion = fuse(disparity, metric)
    return replace(fusion, relative_error=SENSOR_ERROR / COMMON_ERROR_FACTOR) if sequence.measured else fusion


def mark_floor(
    masks: UInt8[np.ndarray, "keyframe height width"],
    sequence: TetonSequence,
    disparity: Float[np.ndarray, "keyframe height width"],
    metric: Float[np.ndarray, "keyframe low_height low_width"],
) -> UInt8[np.ndarray, "keyframe height width"]:
    """Mark the floor where no mask does and `find_floor` finds it in the depth; return the masks as they are otherwise.

    Raises InputError where no floor is found.
    """
    floor = LABELS.index("floor")
    if (masks == floor).any():
        return masks
    empty = background(_fused(sequence, disparity, metric).depth(disparity), masks >= PERSON_LABEL)
    known = sequence.intrinsics
    intrinsics = estimate_intrinsics(sequence).intrinsics if known is None else torch.from_numpy(known).float()
    points = unproject_image(torch.from_numpy(empty), intrinsics).numpy()
    plane = find_floor(points, most_lean=LARGEST_LEAN_DEG if sequence.measured else _ROUGH_LEAN_DEG)
    near = np.abs(plane.distance(points)) < _FOUND_FLOOR_BAND_M
    return np.where((masks == 0) & near, floor, masks).astype(np.uint8)


def _camera_height(
    seen: Plane, normal: Float64[np.ndarray, "3"], on_floor: Float[np.ndarray, "point 3"], relative_error: float
) -> tuple[float, float]:
    """Compute the camera's height above a floor with another normal, and its standard deviation (metres).

    What depth shows is put together with where cameras hang in rooms.
    """
    near = on_floor[np.abs(seen.distance(on_floor)) < _FLOOR_BAND_M]
    shown = float(np.median(-near @ normal))
    error = relative_error * shown
    trust = HEIGHT_SPREAD_M**2 / (HEIGHT_SPREAD_M**2 + error**2)
    return trust * shown + (1 - trust) * HEIGHT_M, math.sqrt(trust) * error


def over_floor(
    room: Room,
    camera: Camera,
    disparity: Float[np.ndarray, "keyframe height width"],
    masks: UInt8[np.ndarray, "keyframe height width"],
) -> Room:
    """Place the room's camera over another floor, and lead depth through that floor where the masks show it."""
    rotation, height = camera.extrinsics[:3, :3].double().numpy(), float(camera.center[2])
    floor, people = replace(room.floor, normal=rotation[:, 2], offset=height), masks >= PERSON_LABEL
    marked = (masks == LABELS.index("floor")) & ~grow(people)
    fusion = refit(room.fusion, disparity, _inverse_depth(floor, camera, disparity.shape[1:]), marked)
    depth = fusion.depth(disparity)
    return replace(room, camera=camera, floor=floor, fusion=fusion, depth=depth, background=background(depth, people))


def _inverse_depth(floor: Plane, camera: Camera, shape: tuple[int, ...]) -> Float64[np.ndarray, "height width"]:
    """Compute one over the depth (1/m) at which each pixel would see the floor; not positive above the horizon."""
    rays = unproject_image(torch.ones(shape, dtype=torch.float64), camera.intrinsics.double()).numpy()
    return -(rays @ floor.normal) / floor.offset


def build_scene(
    scene_id: str,
    images: UInt8[np.ndarray, "keyframe height width 3"],
    masks: UInt8[np.ndarray, "keyframe height width"],
    room: Room,
) -> Scene:
    """Build one voxel-thinned cloud from the key frames of a fixed camera, without outliers and smeared edges.

    `masks` hold the label of each pixel, PERSON_LABEL + k for person k. Raises InputError where no pixel shows the
    empty room at a known depth.
    """
    keep = np.isfinite(room.background) & ~_smeared(room.background, room.camera)
    if not keep.any():
        raise InputError(
            f"{scene_id}: no pixel shows the empty room at a known depth, expected key frames without people"
        )
    colors, labels = _empty_room(images, masks, grow(masks >= PERSON_LABEL))
    cloud = _thin(room.points()[keep], colors[keep], labels[keep])
    return Scene(
        scene_id,
        *_without_outliers(*cloud),
        intrinsics=room.camera.intrinsics.float().numpy(),
        extrinsics=room.camera.extrinsics.float().numpy(),
        image_size=room.camera.image_size,
        floor_inlier_ratio=room.floor.inlier_ratio,
        depth_scale=room.fusion.depth_scale,
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
    """Drop points much farther from their neighbours than is usual in the room; points without neighbours stay."""
    if len(points) <= _NEIGHBOURS:
        return points, colors, labels
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(np.float64)))
    kept = np.asarray(cloud.remove_statistical_outlier(_NEIGHBOURS, _OUTLIER_SIGMAS)[1])
    return points[kept], colors[kept], labels[kept]
