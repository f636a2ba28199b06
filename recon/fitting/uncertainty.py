"""Uncertainty of where fitted persons are, along the ray to the camera and across it.

The logarithms of a person's distances are the unknowns of a linear model with normal errors. What tells them: the size
in the image, as far as stature is known; measured depth, in the frames that have it; the floor, for who is on it;
neighbouring frames, as nobody accelerates much. Errors that frames share are unknowns of their own: the room's size,
its floor's tilt and roll and the focal length, which all persons share, and each person's stature and depth below the
skin. The posterior's standard deviations are what is returned. Constants without another source are such that two
thirds of the errors of rendered rooms lie within one standard deviation.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy.linalg import solveh_banded
from torch import Tensor

from motion.body import Body
from recon.fitting.optimisation import FINEST_M, ON_FLOOR, does
from recon.keypoints import body_keypoints
from recon.observations import Observations
from recon.people import People

STATURE_SPREAD = 0.06  # of the logarithm of stature, as far as a fit leaves it open
POSE_ERROR = 0.05  # of the logarithm of the size in the image, by the pose
SKIN_M, DEPTH_M = 0.01, 0.025  # of a depth: shared by all frames, and of each
CONTACT_M = 0.05  # height of who is on the floor
ACCELERATION_M_S2 = 1.5
ACROSS_M = 0.006  # least error across the ray, by the pose
LEAST = 1e-4  # of an error that is known to be 0
SMALLEST_M = 0.05  # size of a person in the image, for whom one keypoint is known
_ROOM, _SHARED = 4, 6  # unknowns that all persons share, and those that a person's frames share
_BLOCK = 500  # frames whose variances are computed at once


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Standard deviations of persons' positions in metres; NaN in frames that are not valid."""

    along: Float64[np.ndarray, "person frame"]
    """Standard deviation of the distance from the camera, along the ray to the person."""
    across: Float64[np.ndarray, "person frame"]
    """Standard deviation along either axis across that ray."""


@dataclass(frozen=True, eq=False)
class _Sight:
    """Sight of persons that a sequence gives, frame by frame."""

    camera_height: float
    """Height of the camera above the floor in metres."""
    valid: Bool[np.ndarray, "person frame"]
    distance: Float64[np.ndarray, "person frame"]
    ahead: Float64[np.ndarray, "person frame 2"]
    """Position on the floor relative to the camera's foot, right and ahead, in heights of the camera."""
    noise: Float64[np.ndarray, "person"]
    """Error of a keypoint in metres."""
    keypoints: Float64[np.ndarray, "person frame"]
    """Number of keypoints, hidden ones by their weight."""
    size: Float64[np.ndarray, "person frame"]
    """Root of the keypoints' summed squared distances from their middle, metres."""
    mismatch: Float64[np.ndarray, "person frame"]
    """Logarithm of that size over the one that the annotated keypoints have."""
    measured: Bool[np.ndarray, "person frame"]
    """True where depth is known."""
    on_floor: Bool[np.ndarray, "person frame"]
    """True where a person is annotated to touch the floor."""


@dataclass(frozen=True, eq=False)
class _Person:
    """Normal equations of one person: frames, and what they share (room's size, tilt, roll, focal length; person's)."""

    frames: Int64[np.ndarray, " frame"]
    variance: Float64[np.ndarray, " frame"]
    """Variance of each frame, were the shared unknowns known."""
    response: Float64[np.ndarray, "frame shared"]
    """Change of each frame by that of the shared unknowns."""
    shared: Float64[np.ndarray, "shared shared"]
    """Information about the shared unknowns, all frames eliminated, without what is known of the room."""

    def of_room(self) -> Float64[np.ndarray, "room room"]:
        """Compute the information about the room, the person's own unknowns eliminated."""
        own = self.shared[_ROOM:, _ROOM:]
        across = self.shared[:_ROOM, _ROOM:]
        return self.shared[:_ROOM, :_ROOM] - across @ np.linalg.solve(own, across.T)


def uncertainty(people: People, observations: Observations, body: Body) -> Uncertainty:
    """Compute how uncertain the places of persons are who were fitted to `observations`, in the world of its camera."""
    sight = _look(people, observations, body)
    tilt, roll, size = observations.room_error
    known = np.diag(np.maximum([size, tilt, roll, observations.focal_error], LEAST) ** -2.0)
    persons = [_person(sight, k, observations.depth_error, observations.fps) for k in range(len(sight.valid))]
    told = [person.of_room() for person in persons]
    along, across = (np.full(sight.valid.shape, np.nan) for _ in range(2))
    for k, person in enumerate(persons):
        shared = person.shared.copy()
        shared[:_ROOM, :_ROOM] += known + sum(told) - told[k]
        by_shared = np.einsum("fi,ij,fj->f", person.response, np.linalg.inv(shared), person.response)
        along[k, person.frames] = np.sqrt(person.variance + by_shared) * sight.distance[k, person.frames]
        across[k, person.frames] = _across(sight, k, person.frames, observations.fps)
    return Uncertainty(along, across)


def _look(people: People, observations: Observations, body: Body) -> _Sight:
    camera, points = observations.camera, body_keypoints(body, observations.names)
    joints, placed = people.joints(body), people.keypoints(body, points)
    seen = (observations.confidence > 0) & people.valid[..., None]
    weight = observations.confidence.square() * seen
    depth = camera.to_camera(joints)[..., 2].mean(dim=-1, keepdim=True).clamp_min(0.5)
    pixels = torch.where(seen[..., None], observations.keypoints, 0.0)
    metres = depth / camera.intrinsics[0, 0]  # of a pixel
    missed = (camera.project(placed) - pixels).norm(dim=-1) * metres
    noise = torch.where(seen, missed, torch.nan).flatten(1).nanmedian(dim=1).values / 1.18
    size = _size(camera.project(placed), weight) * metres[..., 0]
    annotated = _size(pixels, weight) * metres[..., 0]
    away = joints.mean(dim=2) - camera.center
    return _Sight(
        camera_height=float(camera.center[2]),
        valid=people.valid.numpy(),
        distance=_double(away.norm(dim=-1)),
        ahead=_double(away[..., :2] / camera.center[2]),
        noise=_double(noise.nan_to_num(FINEST_M)).clip(FINEST_M / 5),
        keypoints=_double(weight.sum(dim=-1)),
        size=_double(size).clip(SMALLEST_M),
        mismatch=_double((size.clamp_min(SMALLEST_M) / annotated.clamp_min(SMALLEST_M)).log()),
        measured=(observations.depth.isfinite() & seen).any(dim=-1).numpy(),
        on_floor=does(ON_FLOOR, observations.action, people.valid).numpy(),
    )


def _size(
    points: Float[Tensor, "person frame keypoint 2"], weight: Float[Tensor, "person frame keypoint"]
) -> Float[Tensor, "person frame"]:
    """Compute the root of the points' summed squared distances from their middle."""
    middle = (weight[..., None] * points).sum(dim=2) / weight.sum(dim=2).clamp_min(1e-6)[..., None]
    return (weight * (points - middle[:, :, None]).square().sum(dim=-1)).sum(dim=-1).sqrt()


def _double(values: Float[Tensor, "*batch"]) -> Float64[np.ndarray, "*batch"]:
    return values.double().numpy()


def _person(sight: _Sight, person: int, depth_error: float, fps: float) -> _Person:
    """Collect what tells one person's distances; each row is a measurement of a logarithm of a distance."""
    frames = np.flatnonzero(sight.valid[person])
    distance, noise = sight.distance[person, frames], sight.noise[person]
    right, ahead = sight.ahead[person, frames].T
    one, zero = np.ones(len(frames)), np.zeros(len(frames))
    by_size, by_stature = _by_size(sight, person, frames)
    by_depth = np.hypot(DEPTH_M, noise) / distance
    by_floor = np.full(len(frames), CONTACT_M / sight.camera_height)
    measurements = (
        ((zero, zero, zero, one, one, zero), by_size, sight.keypoints[person, frames] > 0),
        ((one, zero, zero, zero, zero, one), by_depth, sight.measured[person, frames]),
        ((one, ahead, right, one, zero, zero), by_floor, sight.on_floor[person, frames]),
    )
    skin = SKIN_M / distance.mean() if len(frames) else 1.0
    own = np.array([by_stature, np.hypot(depth_error, skin)])
    bands = _inertia(frames, distance, fps)
    shared, mixed = np.zeros((_SHARED, _SHARED)), np.zeros((len(frames), _SHARED))
    shared[_ROOM:, _ROOM:] = np.diag(own**-2)
    for columns, error, known in measurements:
        rows = np.stack(columns, axis=1)
        information = known / error**2
        shared += rows.T @ (rows * information[:, None])
        mixed += rows * information[:, None]
        bands[-1] += information
    if not len(frames):
        return _Person(frames, zero, mixed, shared)
    response = solveh_banded(bands, mixed)
    return _Person(frames, _variances(bands), response, shared - mixed.T @ response)


def _by_size(
    sight: _Sight, person: int, frames: Int64[np.ndarray, " frame"]
) -> tuple[Float64[np.ndarray, " frame"], float]:
    """Compute the relative error of the distance by the size in the image: of each frame, and what all frames share.

    A person who misses the keypoints, or looks larger than they, has a size that is as uncertain.
    """
    known = sight.keypoints[person, frames] > 0
    blur, mismatch = sight.noise[person] / sight.size[person, frames], sight.mismatch[person, frames]
    always = np.median([blur[known], mismatch[known]], axis=1) if known.any() else np.zeros(2)
    of_frames = np.hypot(np.hypot(blur, POSE_ERROR), mismatch - always[1])
    return of_frames, math.hypot(STATURE_SPREAD, *always)


def _inertia(
    frames: Int64[np.ndarray, " frame"], scale: Float64[np.ndarray, " frame"], fps: float
) -> Float64[np.ndarray, "band frame"]:
    """Compute the information that small accelerations give, as `solveh_banded` takes it; a unit variance at least.

    The unknowns are lengths (metres) divided by `scale`.
    """
    bands = np.zeros((max(1, min(3, len(frames))), len(frames)))
    bands[-1] += 1.0
    inner = np.flatnonzero(frames[2:] - frames[:-2] == 2) + 1
    weight = (scale[inner] * fps**2 / ACCELERATION_M_S2) ** 2
    for first, second in ((-1, -1), (0, 0), (1, 1), (-1, 0), (0, 1), (-1, 1)):
        product = (1 - 3 * (first == 0)) * (1 - 3 * (second == 0))
        if len(inner):
            bands[first - second - 1, inner + second] += product * weight
    return bands


def _variances(bands: Float64[np.ndarray, "band frame"]) -> Float64[np.ndarray, " frame"]:
    """Compute the diagonal of the inverse of a banded matrix."""
    count = bands.shape[1]
    found = []
    for start in range(0, count, _BLOCK):
        columns = np.eye(count, min(_BLOCK, count - start), -start)
        found.append(solveh_banded(bands, columns)[start : start + _BLOCK].diagonal())
    return np.concatenate(found)


def _across(
    sight: _Sight, person: int, frames: Int64[np.ndarray, " frame"], fps: float
) -> Float64[np.ndarray, " frame"]:
    """Compute the standard deviations across the ray (metres): from the keypoints and the neighbouring frames."""
    if not len(frames):
        return np.zeros(0)
    bands = _inertia(frames, np.ones(len(frames)), fps)
    bands[-1] += sight.keypoints[person, frames] / sight.noise[person] ** 2
    return np.sqrt(_variances(bands) + ACROSS_M**2)
