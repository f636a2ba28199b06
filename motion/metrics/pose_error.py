"""Pose errors of a reconstruction against the truth, frame by frame: metres in, metres (pixels, degrees, m/s²) out.

    mpjpe               Ionescu et al. 2014 (Human3.6M): the pelvis of every frame is laid on that of the other
                        motion, so that poses count (facing included) and the path over the floor does not
    pa_mpjpe            Procrustes: after the similarity transform of each frame that fits best (Umeyama 1991)
    pve                 the same as mpjpe with all vertices of the body
    world_mpjpe         in world coordinates, without alignment
    acceleration_error  of joints in the world (Kanazawa et al. 2019), per second squared instead of frame squared
    reprojection_error  pixels in the image
    floor_error         angle and height of the floor plane

`valid` is True where a person is there; other frames are not looked at and may hold anything. Each valid person and
frame counts alike. All raise InputError where shapes differ, where nothing is valid, or where a valid number is not
finite (`mpjpe` only where shapes differ).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.errors import InputError


def mpjpe(
    joints: Float[np.ndarray, "*batch frame 24 3"] | Float[Tensor, "*batch frame 24 3"],
    other: Float[np.ndarray, "*others other 24 3"] | Float[Tensor, "*others other 24 3"],
) -> float:
    """Compute the root-aligned mean per-joint position error in metres; both must have the same shape."""
    if joints.shape != other.shape:
        raise InputError(_differ(tuple(joints.shape), tuple(other.shape)))
    difference = _from_pelvis(joints) - _from_pelvis(other)
    return float(difference.norm(dim=-1).mean())


def pa_mpjpe(
    joints: Float[np.ndarray, "*batch joint 3"],
    reference: Float[np.ndarray, "*others other 3"],
    valid: Bool[np.ndarray, "*valid"] | None = None,
) -> float:
    """Compute the mean distance (m) after each frame is moved, turned and scaled onto the reference; never mirrored.

    `valid` None counts all frames.
    """
    joints, reference = _present(joints, reference, valid)
    joints = joints - joints.mean(axis=1, keepdims=True)
    reference = reference - reference.mean(axis=1, keepdims=True)
    left, stretch, right = np.linalg.svd(joints.mT @ reference)
    proper = np.ones_like(stretch)
    proper[:, 2] = np.sign(np.linalg.det(left @ right))
    size = np.square(joints).sum(axis=(1, 2))
    # Joints that are all in one place have no size; they stay there.
    scale = np.divide((stretch * proper).sum(axis=1), size, out=np.zeros_like(size), where=size > 0)
    aligned = scale[:, None, None] * (joints @ (left * proper[:, None]) @ right)
    return _mean_distance(aligned, reference)


def pve(
    vertices: Float[np.ndarray, "*batch vertex 3"],
    reference: Float[np.ndarray, "*others other 3"],
    pelvis: Float[np.ndarray, "*pelvis 3"],
    reference_pelvis: Float[np.ndarray, "*other_pelvis 3"],
    valid: Bool[np.ndarray, "*valid"] | None = None,
) -> float:
    """Compute the per-vertex error (m): mean distance of vertices relative to their body's pelvis joint.

    `valid` None counts all frames.
    """
    vertices, reference = _present(vertices, reference, valid)
    pelvis, reference_pelvis = _present(pelvis[..., None, :], reference_pelvis[..., None, :], valid)
    if len(pelvis) != len(vertices):
        raise InputError(f"there are {len(pelvis)} pelvises of {len(vertices)} bodies, expected one each")
    return _mean_distance(vertices - pelvis, reference - reference_pelvis)


def world_mpjpe(
    joints: Float[np.ndarray, "*batch joint 3"],
    reference: Float[np.ndarray, "*others other 3"],
    valid: Bool[np.ndarray, "*valid"] | None = None,
) -> float:
    """Compute the mean distance (m) of joints in the world without alignment, so that persons' places count.

    `valid` None counts all frames.
    """
    return _mean_distance(*_present(joints, reference, valid))


def acceleration_error(
    joints: Float[np.ndarray, "*batch frame joint 3"],
    reference: Float[np.ndarray, "*others others_frame other 3"],
    fps: float,
    valid: Bool[np.ndarray, "*valid"] | None = None,
) -> float:
    """Compute the mean length (m/s²) of the difference of accelerations, where three frames in a row are valid.

    `valid` None counts all frames.
    """
    if joints.ndim < 3 or joints.shape[-3] < 3:
        raise InputError(f"joints of shape {joints.shape} have no acceleration, expected 3 frames or more")
    if valid is not None:
        valid = valid[..., :-2] & valid[..., 1:-1] & valid[..., 2:]
    joints, reference = (np.diff(points.astype(np.float64), n=2, axis=-3) for points in (joints, reference))
    return _mean_distance(*_present(joints, reference, valid)) * fps**2


def reprojection_error(
    points: Float[np.ndarray, "*batch joint 2"],
    joints: Float[np.ndarray, "*others other 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    extrinsics: Float[np.ndarray, "4 4"],
    visible: Bool[np.ndarray, "*visible"],
) -> float:
    """Compute the mean distance (px) of 2D points and projected world joints where `visible` is True (pinhole camera).

    `extrinsics` is world to camera (OpenCV: x right, y down, z forward). Raises InputError where a visible joint lies
    behind the camera.
    """
    if not points.shape[:-1] == joints.shape[:-1] == visible.shape:
        raise InputError(
            f"points {points.shape}, joints {joints.shape} and visible {visible.shape} do not belong together, "
            "expected the same persons, frames and joints"
        )
    in_camera = joints[visible].astype(np.float64) @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    behind = int((in_camera[:, 2] <= 0).sum())
    if behind:
        raise InputError(f"{behind} of {len(in_camera)} visible joints lie behind the camera, expected all before it")
    in_image = in_camera @ intrinsics.T
    projected = in_image[:, None, :2] / in_image[:, None, 2:]
    return _mean_distance(*_present(points[visible][:, None], projected, None))


def floor_error(
    normal: Float[np.ndarray, "3"], offset: float, reference_normal: Float[np.ndarray, "3"], reference_offset: float
) -> tuple[float, float]:
    """Compare two floor planes `normal · x + offset = 0`: angle (degrees, 0 to 90) and difference of heights (m).

    The height is the distance from the origin: the camera's, in the camera's frame. Normals may have any length and
    sign, but for zero (InputError).
    """
    plane, reference = _unit_plane(normal, offset), _unit_plane(reference_normal, reference_offset)
    cosine = plane[:3] @ reference[:3]
    if cosine < 0:
        plane = -plane
    sine = np.linalg.norm(np.cross(plane[:3], reference[:3]))
    return float(np.degrees(np.arctan2(sine, abs(cosine)))), float(abs(plane[3] - reference[3]))


def _from_pelvis(
    joints: Float[np.ndarray, "*batch 24 3"] | Float[Tensor, "*batch 24 3"],
) -> Float[Tensor, "*batch 24 3"]:
    positions = torch.as_tensor(joints)
    return positions - positions[..., :1, :]


def _present(
    points: Float[np.ndarray, "*batch point dim"],
    reference: Float[np.ndarray, "*others other other_dim"],
    valid: Bool[np.ndarray, "*valid"] | None,
) -> tuple[Float[np.ndarray, "frame point dim"], Float[np.ndarray, "frame point dim"]]:
    """Select the valid frames of all persons, in float64."""
    if points.shape != reference.shape:
        raise InputError(_differ(points.shape, reference.shape))
    if valid is None:
        valid = np.ones(points.shape[:-2], dtype=np.bool_)
    if valid.shape != points.shape[:-2]:
        raise InputError(f"valid has shape {valid.shape}, expected that of persons and frames, {points.shape[:-2]}")
    points, reference = points[valid].astype(np.float64), reference[valid].astype(np.float64)
    if not points.size:
        raise InputError("nobody is there in any frame, expected at least one valid frame to compare")
    if not (np.isfinite(points).all() and np.isfinite(reference).all()):
        raise InputError("a valid frame holds NaN or infinity, expected numbers")
    return points, reference


def _differ(shape: tuple[int, ...], other: tuple[int, ...]) -> str:
    return f"cannot compare points of shape {shape} with {other}, expected the same shape"


def _mean_distance(points: Float[np.ndarray, "*batch dim"], others: Float[np.ndarray, "*batch dim"]) -> float:
    return float(np.linalg.norm(points - others, axis=-1).mean())


def _unit_plane(normal: Float[np.ndarray, "3"], offset: float) -> Float[np.ndarray, "4"]:
    plane, length = np.append(normal.astype(np.float64), offset), np.linalg.norm(normal)
    if not (np.isfinite(plane).all() and length > 0):
        raise InputError(f"a plane has the normal {normal.tolist()} and offset {offset}, expected a direction")
    return plane / length
