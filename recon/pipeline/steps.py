"""Steps from one annotated room video to a metric scene with persons: (Scene, MotionSequence).

The steps are thesis §4.1 to §4.3, misprints corrected: networks (`recon.pipeline.perception`), depth of the empty room,
floor to the XY plane, poses of another person masked, bodies fitted over time. World: Z up, floor z = 0, metres, the
origin on the floor below the camera.

    regression     the body network's poses, smoothed (eq. 4.1)
    optimisation   poses fitted to the annotated keypoints, from a start that is lifted from them
    hybrid         the same fit from the body network's poses, lifted where those are masked or far from the keypoints
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from motion.body import Body, load_body
from motion.errors import InputError
from motion.sequence import MotionSequence, Scene
from recon.calibration import DEFAULT_FIELD_OF_VIEW_DEG, Calibration
from recon.depth.fusion import grow, median
from recon.fitting import Fit, fit
from recon.fitting.rooms import moved
from recon.fitting.uncertainty import uncertainty
from recon.keypoints import FEWEST, body_keypoints, known_names
from recon.lifting import Lifter
from recon.observations import SURE_CONFIDENCE, Observations
from recon.occlusion import mask_duplicates, mask_unlike
from recon.people import People
from recon.pipeline.perception import Perception, by_person_and_frame
from recon.pipeline.record import Quality, assess, describe_uncertainty, to_record
from recon.pose_prior import PosePrior, load_prior
from recon.regressors.body_regressor import in_camera
from recon.regressors.hmr2 import STAND_IN
from recon.scene import Room, build_room, build_scene, mark_floor, over_floor
from recon.smoothing import smooth
from recon.teton import PERSON_LABEL, TetonSequence, Track

Mode = Literal["regression", "optimisation", "hybrid"]
Fitter = Callable[[Observations, People], Fit]
"""Fit of persons (in the world), such as `recon.fitting.fit` with a body and a prior."""
STILL_SHARE, STILL_KEYPOINT_SHARE = 0.05, 0.15  # of a person's size, moved by one who holds still and by a keypoint
GOOD_START_SHARE = 0.08  # of the size: 5 pixels of noise are some 3 % of it, `hmr2_tiny` errs by 16 % of a crop


@dataclass(frozen=True, eq=False)
class Bodies:
    """Body with its pose prior and its lifter."""

    body: Body
    prior: PosePrior
    lifter: Lifter
    believed: bool
    """True where the body network is believed without keypoints; False for the stand-in."""


def load_bodies(
    body: str | Path = "default", pose_prior: str | Path = "default", regressor: str | Path = STAND_IN
) -> Bodies:
    """Load the default body or an SMPL file, the default pose prior or a file, and the lifter that ships.

    `regressor` is the body network that the poses come from.
    """
    return Bodies(load_body(body), load_prior(pose_prior), Lifter.load(), believed=str(regressor) != STAND_IN)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Reconstructed scene and motion, with the room they came from and the persons' quality."""

    scene: Scene
    """Points and camera of the room, in its world."""
    motion: MotionSequence
    """Motion of the persons in the room's world."""
    room: Room
    """Camera, floor and depth that both came from."""
    quality: tuple[Quality, ...]
    """Quality of each person of `motion`, in the same order."""


def reconstruct(
    sequence: TetonSequence, perception: Perception, bodies: Bodies, mode: Mode, fitted: Fitter | None = None
) -> Reconstruction:
    """Reconstruct a sequence from the networks' answers; no network that sees images runs here.

    `fitted` is what fits persons to their observations, by default `recon.fitting.fit` here. Raises InputError when
    nobody could be reconstructed.
    """
    marks = np.stack([sequence.mask(number) for number in sequence.keyframes])
    masks = mark_floor(marks, sequence, perception.disparity, perception.metric)
    images = np.stack([sequence.frame(number) for number in sequence.keyframes])
    room = build_room(sequence, perception.disparity, perception.metric, images, masks)
    observed = observe(sequence, room, masks, bodies.body)
    regressed = regressed_people(perception, observed, bodies)
    placed = place_people(
        regressed, observed, bodies, mode, fitted or partial(fit, body=bodies.body, prior=bodies.prior)
    )
    people = replace(placed.people, valid=placed.people.valid & present(sequence.tracks))
    if not people.valid.any():
        expected = "a regressed pose near the keypoints" if mode == "regression" else "a person with keypoints"
        raise InputError(f"{sequence.folder}: nobody could be reconstructed in mode {mode}, expected {expected}")
    regressed = moved(regressed, room.camera, placed.camera, bodies.body)
    room = over_floor(room, placed.camera, perception.disparity, masks)
    observed = observe(sequence, room, masks, bodies.body)
    scene = build_scene(sequence.id, images, masks, room)
    sure = uncertainty(people, known_to(mode, observed), bodies.body)
    quality = tuple(
        assess(k, track, people, regressed, observed, sure, placed.room_moved, bodies.body)
        for k, track in enumerate(sequence.tracks)
    )
    provenance = {"folder": sequence.id, "mode": mode, "focal_length": focal_source(room.calibration)}
    provenance["floor"] = floor_source(room, mode)
    provenance["marks"] = marks_source(sequence, floor_marked=masks is marks)
    provenance["depth"] = "measured" if sequence.measured else "networks"
    ids = [track.object_id for track in sequence.tracks]
    provenance["uncertainty"] = describe_uncertainty(sure, observed, people, ids)
    return Reconstruction(scene, to_record(sequence, people, quality, bodies.body, provenance), room, quality)


def known_to(mode: Mode, observed: Observations) -> Observations:
    """Return what a mode uses of the observations; the body network sees neither depth nor floor."""
    if mode != "regression":
        return observed
    return replace(observed, depth=torch.full_like(observed.depth, torch.nan), action=None)


def focal_source(calibration: Calibration | None) -> str:
    """Describe where the focal length comes from, for the record's provenance; None means the annotations."""
    if calibration is None:
        return "annotated"
    seen = [name for name, used in (("people", calibration.samples), ("edges", calibration.edges)) if used]
    if not seen:
        return f"assumed, {DEFAULT_FIELD_OF_VIEW_DEG:.0f}° field of view"
    return f"estimated from {' and '.join(seen)}, standard error {calibration.relative_error:.0%}"


def floor_source(room: Room, mode: Mode) -> str:
    """Describe where the floor and the room's size come from, and how uncertain those were, for the provenance."""
    tilt, roll, size = room.error
    known = f"depth and edges: tilt ± {math.degrees(tilt):.1f}°, roll ± {math.degrees(roll):.1f}°, size ± {size:.0%}"
    return known if mode == "regression" else f"{known}; then fitted with the persons"


def marks_source(sequence: TetonSequence, floor_marked: bool) -> str:
    """Describe how persons and floor are distinguished from the rest of the picture, for the provenance."""
    persons = "persons by masks" if sequence.masked else "no masks: persons by boxes and keypoints"
    return f"{persons}, {'floor by masks' if floor_marked else 'floor found in the depth'}"


def observe(
    sequence: TetonSequence, room: Room, masks: UInt8[np.ndarray, "keyframe height width"], body: Body
) -> Observations:
    """Collect the annotated keypoints that the body has, and the depth of the skin that key frames show at them."""
    known = [k for k, name in enumerate(sequence.keypoint_names) if name in known_names(body)]
    annotated = np.stack([track.keypoints[:, known] for track in sequence.tracks])
    depth = _depth_at_keypoints(sequence, room, masks, annotated)
    return Observations(
        camera=room.camera,
        fps=sequence.fps,
        names=tuple(sequence.keypoint_names[k] for k in known),
        keypoints=torch.from_numpy(annotated[..., :2]),
        confidence=torch.from_numpy(annotated[..., 2]),
        depth=torch.from_numpy(depth),
        background=torch.from_numpy(room.background),
        covered=torch.from_numpy(_covered(sequence, masks, annotated)),
        depth_error=room.fusion.error,
        room_error=room.error,
        focal_error=room.calibration.relative_error if room.calibration else 0.0,
        action=torch.from_numpy(np.stack([track.action for track in sequence.tracks])),
    )


def _depth_at_keypoints(
    sequence: TetonSequence,
    room: Room,
    masks: UInt8[np.ndarray, "keyframe height width"],
    annotated: Float32[np.ndarray, "person frame keypoint 3"],
) -> Float32[np.ndarray, "person frame keypoint"]:
    """Look up the skin's depth in the key frames and carry it to frames in which a person holds still; else NaN."""
    depth = np.full(annotated.shape[:3], np.nan, dtype=np.float32)
    for number, mask, seen in zip(sequence.keyframes, masks, room.depth, strict=True):
        for person in range(len(sequence.tracks)):
            depth[person, number] = skin_depth(annotated[person, number], mask == PERSON_LABEL + person, seen)
    return np.stack([carried(*of_person) for of_person in zip(annotated, depth, strict=True)])


def _covered(
    sequence: TetonSequence,
    masks: UInt8[np.ndarray, "keyframe height width"],
    annotated: Float32[np.ndarray, "person frame keypoint 3"],
) -> Bool[np.ndarray, "person frame keypoint"]:
    """Mark visible keypoints beside the person's mask in the nearest key frame: annotators see legs under blankets.

    Nothing is known of who has no mask there.
    """
    keyframes = np.array(sequence.keyframes)
    nearest = np.abs(np.arange(annotated.shape[1])[:, None] - keyframes).argmin(axis=1)
    beside = np.zeros((len(annotated), len(keyframes), annotated.shape[2]), dtype=np.bool_)
    for person, keypoints in enumerate(annotated):
        own = grow(masks == PERSON_LABEL + person)
        for k, number in enumerate(keyframes):
            shown = skin_depth(keypoints[number], own[k], np.zeros(own[k].shape, dtype=np.float32))
            beside[person, k] = np.isnan(shown) & (keypoints[number, :, 2] >= SURE_CONFIDENCE) & own[k].any()
    return beside[:, nearest]


def skin_depth(
    keypoints: Float32[np.ndarray, "keypoint 3"],
    own: Bool[np.ndarray, "height width"],
    depth: Float32[np.ndarray, "height width"],
) -> Float32[np.ndarray, " keypoint"]:
    """Look up the depth at visible keypoints that lie on the person's own mask, else NaN."""
    height, width = depth.shape
    column, row = (keypoints[:, axis].round().astype(int) for axis in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    at = (row.clip(0, height - 1), column.clip(0, width - 1))
    usable = inside & own[at] & (keypoints[:, 2] >= SURE_CONFIDENCE)
    return np.where(usable, depth[at], np.float32(np.nan)).astype(np.float32)


def carried(
    keypoints: Float32[np.ndarray, "frame keypoint 3"], depth: Float32[np.ndarray, "frame keypoint"]
) -> Float32[np.ndarray, "frame keypoint"]:
    """Carry depth from key frames to frames in which the person has not moved in the image.

    Key frames show changes, so a person who lies in bed may have a single one.
    """
    measured = np.flatnonzero(np.isfinite(depth).any(axis=1))
    if not len(measured):
        return depth
    pixels = np.where(keypoints[..., 2:] >= SURE_CONFIDENCE, keypoints[..., :2], np.float32(np.nan))
    size = np.linalg.norm(np.nanmax(pixels[measured], axis=1) - np.nanmin(pixels[measured], axis=1), axis=-1)
    step = (pixels[:, None] - pixels[measured]) / size.clip(1)[:, None, None]  # frame, key frame, keypoint
    moved = np.linalg.norm(median(np.moveaxis(step, 2, 0)), axis=-1)  # annotators' errors mostly cancel
    nearest = np.nan_to_num(moved, nan=np.inf).argmin(axis=1)
    frames = np.arange(len(depth))
    still = moved[frames, nearest] <= STILL_SHARE
    known = still[:, None] & (np.linalg.norm(step[frames, nearest], axis=-1) <= STILL_KEYPOINT_SHARE)
    return np.where(np.isfinite(depth), depth, np.where(known, depth[measured[nearest]], np.float32(np.nan)))


def regressed_people(perception: Perception, observed: Observations, bodies: Bodies) -> People:
    """Put the body network's poses into the world, valid where they are the person's own (thesis §4.1).

    The stand-in network is not believed where there are too few keypoints to judge it.
    """
    body = bodies.body
    persons, frames, _ = observed.confidence.shape
    shape, camera = (persons, frames), observed.camera
    found = in_camera(perception.estimates, torch.tensor(perception.squares), camera.intrinsics, body)
    there = torch.zeros(shape, dtype=torch.bool)
    there[torch.tensor(perception.person), torch.tensor(perception.frame)] = True
    identity = torch.eye(3)

    def table(rotations: Tensor) -> Tensor:
        placed = by_person_and_frame(rotations, perception, shape)
        lacking = ~there.view(*shape, *[1] * (placed.ndim - 2))
        return torch.where(lacking, identity, placed)

    betas = by_person_and_frame(found.betas, perception, shape)
    in_camera_frame = People(
        transl=by_person_and_frame(found.transl, perception, shape),
        global_orient=table(found.global_orient),
        body_pose=table(found.body_pose),
        betas=torch.stack(
            [own[seen].median(dim=0).values if seen.any() else own[0] for own, seen in zip(betas, there, strict=True)]
        ),
        valid=there,
    )
    to_world = camera.extrinsics[:3, :3].T
    moved = in_camera_frame.moved(to_world, camera.center, body)
    judged = (observed.confidence > 0).sum(dim=-1) >= FEWEST
    return replace(moved, valid=there & are_own(moved, observed, body) & (judged | bodies.believed))


def are_own(people: People, observed: Observations, body: Body) -> Bool[Tensor, "person frame"]:
    """Mark bodies that lie near their own annotated keypoints and no nearer to another person's (True = own)."""
    projected, keypoints = _seen(people, observed, body)
    return mask_duplicates(projected, keypoints) & mask_unlike(projected, keypoints)


def good_starts(people: People, observed: Observations, body: Body) -> Bool[Tensor, "person frame"]:
    """Mark poses that lie as near the keypoints as a good network's do, in most frames of a person (True = good)."""
    near = mask_unlike(*_seen(people, observed, body), GOOD_START_SHARE) & people.valid
    return near & (near.sum(dim=1, keepdim=True) >= people.valid.sum(dim=1, keepdim=True) / 2)


def _seen(
    people: People, observed: Observations, body: Body
) -> tuple[Float[Tensor, "person frame keypoint 2"], Float[Tensor, "person frame keypoint 3"]]:
    """Project the persons' keypoints, and pair them with the annotated ones (x, y, score)."""
    projected = observed.camera.project(people.keypoints(body, body_keypoints(body, observed.names)))
    return projected, torch.cat([observed.keypoints, observed.confidence[..., None]], dim=-1)


def place_people(regressed: People, observed: Observations, bodies: Bodies, mode: Mode, fitted: Fitter) -> Fit:
    """Place persons in the world by the chosen mode, and the camera over the floor that fits them."""
    if mode == "regression":
        return Fit(smooth(regressed, bodies.body, observed.fps), observed.camera, 0.0)
    start = bodies.lifter.lift(observed, bodies.body)
    if mode == "hybrid":
        start = union(replace(regressed, valid=good_starts(regressed, observed, bodies.body)), start)
    return fitted(observed, start)


def union(first: People, second: People) -> People:
    """Take `first` where it is valid, else `second`; each person keeps one shape, the one known from more frames."""
    more = (first.valid.sum(dim=1) >= second.valid.sum(dim=1) / 2)[:, None]
    betas, valid = torch.where(more, first.betas, second.betas), first.valid | second.valid
    return replace(first.where(first.valid, second), betas=betas, valid=valid)


def present(tracks: Sequence[Track]) -> Bool[Tensor, "person frame"]:
    """Stack the tracks' presence masks (True = annotated in this frame)."""
    return torch.from_numpy(np.stack([track.present for track in tracks]))
