"""Errors of a reconstruction whose truth is known, and how well it says how large they are."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64

from motion.body import Body
from motion.metrics.pose_error import acceleration_error, floor_error, mpjpe, pa_mpjpe, world_mpjpe
from motion.sequence import MotionSequence
from recon.pipeline.steps import Reconstruction
from recon.simulate import Truth


@dataclass(frozen=True)
class Errors:
    """Errors of a reconstruction in millimetres and degrees; None where there was nothing to compare."""

    floor_angle: float | None = None
    """Angle between the floor's normals in degrees."""
    floor_height_mm: float | None = None
    """Error of the camera's height above the floor."""
    mpjpe_mm: float | None = None
    """Mean joint error with the pelvises aligned."""
    pa_mpjpe_mm: float | None = None
    """Mean joint error after Procrustes alignment."""
    world_mpjpe_mm: float | None = None
    """Mean joint error in the world without alignment, both worlds laid on each other at the camera."""
    acceleration_error: float | None = None
    """Acceleration error in m/s², over three valid frames in a row."""
    within_sigma: float | None = None
    """Share of the persons' errors along the ray that lie within one standard deviation of what is said."""
    away_m: tuple[float, ...] = ()
    """Mean joint error of each reconstructed person in the camera's frame, metres."""
    along_m: tuple[float, ...] = ()
    """Median standard deviation along the ray that is said of each reconstructed person, metres."""
    stature_error: tuple[float, ...] = ()
    """Error of each reconstructed person's stature, relative to the true one."""


def compare(made: Reconstruction, truth: Truth, body: Body) -> Errors:
    """Compute the errors of floor and persons; `body` is the body model that the true persons have.

    Both worlds are the floor under one camera, so they are laid on each other there: the reconstructed joints go to the
    camera by its own extrinsics and to the true world by the true ones.
    """
    own, true = made.room.camera.extrinsics.double().numpy(), truth.camera.extrinsics.double().numpy()
    angle, height = floor_error(own[:3, 2], camera_height(own), true[:3, 2], camera_height(true))
    found = [row for row in made.quality if row.frames]
    persons = [truth.object_ids.index(row.object_id) for row in found]
    joints, reference, valid = made.motion.joints, truth.motion.joints[persons], made.motion.valid
    stature = body.stature(torch.from_numpy(truth.motion.betas[persons])).tolist()
    to_true = np.linalg.inv(true) @ own
    joints = joints @ to_true[:3, :3].T + to_true[:3, 3]
    off = joints - reference
    fps = truth.motion.fps
    return Errors(
        floor_angle=angle,
        floor_height_mm=1000 * height,
        mpjpe_mm=1000 * mpjpe(joints[valid][None], reference[valid][None]),
        pa_mpjpe_mm=1000 * pa_mpjpe(joints, reference, valid),
        world_mpjpe_mm=1000 * world_mpjpe(joints, reference, valid),
        acceleration_error=acceleration_error(joints, reference, fps, valid) if _three_in_a_row(valid) else None,
        within_sigma=_within_sigma(made.motion, off, reference - np.linalg.inv(true)[:3, 3]),
        away_m=tuple(float(np.linalg.norm(off[k][valid[k]], axis=-1).mean()) for k in range(len(off))),
        along_m=tuple(row.along_m or 0.0 for row in found),
        stature_error=tuple(row.stature_m / true - 1 for row, true in zip(found, stature, strict=True)),
    )


def _within_sigma(
    motion: MotionSequence,
    off: Float64[np.ndarray, "person frame 24 3"],
    away: Float64[np.ndarray, "person frame 24 3"],
) -> float:
    """Compute the share of frames in which persons err along the ray by no more than one standard deviation."""
    told = json.loads(motion.provenance["uncertainty"])
    along = np.array([person["along_m"] for person in told], dtype=np.float64)  # NaN for null
    ray = away.mean(axis=2)
    error = (off.mean(axis=2) * ray).sum(axis=-1) / np.linalg.norm(ray, axis=-1)
    return float((np.abs(error) < along)[motion.valid].mean())


def camera_height(extrinsics: Float64[np.ndarray, "4 4"]) -> float:
    """Compute the camera's height over the XY plane (metres)."""
    return float(-extrinsics[:3, 2] @ extrinsics[:3, 3])


def _three_in_a_row(valid: Bool[np.ndarray, "person frame"]) -> bool:
    return bool((valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]).any())
