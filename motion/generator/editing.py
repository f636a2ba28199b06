"""Editing: motions in between, after, or together with a given one, along a path, with joints kept in place.

There are two ways to say what is wanted. Frames of a constraint (`Given`) are kept bit-identical, and the network
generates the rest around them. Terms of guidance (`trajectory`, with targets of `held`) pull at all that is generated,
and are met to centimetres.

    start, end = crop(clip, 0, 20), crop(clip, 60, 80)
    generator.generate([MotionRequest("a person walks", 80)], [in_between(start, end, 80)])

World: Z up, metres, in the frame of the constraint's motion; without one, the first person starts above the origin and
faces +Y. Masks: `kept` True = the frame is kept, `frames` True = the joints hold still.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from motion.clips.transforms import crop
from motion.errors import InputError
from motion.generator.constraints import Given
from motion.generator.request import MotionRequest, request_id
from motion.generator.sampling import Generator
from motion.guidance.terms import Term, Trajectory
from motion.sequence import MotionSequence
from motion.skeleton import JOINT

OVERLAP_SHARE = 0.25  # of the model's longest clip, which the next window goes on from
PER_FRAME = ("transl", "global_orient", "body_pose", "joints", "valid", "action")
TIMED = ("targets", "known", "keypoints", "confidence")
"""Fields of guidance terms that vary by frame; person and frame are axes 1 and 2."""


def prefix(motion: MotionSequence) -> Given:
    """Constrain the clip to start with this motion."""
    return Given(motion, motion.valid)


def in_between(start: MotionSequence, end: MotionSequence, num_frames: int) -> Given:
    """Constrain the clip to start with one motion and end with another of the same persons.

    Raises InputError where persons, body or frame rate differ, or where no frame is left to generate.
    """
    if not np.array_equal(start.betas, end.betas) or (start.fps, start.body) != (end.fps, end.body):
        raise InputError(f"{start.id} and {end.id} are not of the same people, body and frame rate (betas, body, fps)")
    gap = num_frames - start.num_frames - end.num_frames
    if gap < 1:
        lengths = f"{start.num_frames} and {end.num_frames}"
        raise InputError(f"start and end have {lengths} frames, which leaves none of {num_frames} to generate")
    pause = [crop(start, start.num_frames - 1, start.num_frames)] * gap
    kept = np.concatenate([start.valid, np.zeros((start.num_persons, gap), dtype=np.bool_), end.valid], axis=1)
    return Given(replace(start, **_in_turn([start, *pause, end])), kept)


def reaction(motion: MotionSequence, persons: Sequence[int]) -> Given:
    """Constrain these persons to move as in the motion wherever they are valid; other requested persons react to them.

    Raises InputError unless `persons` are different persons of the motion.
    """
    chosen = list(persons)
    if not chosen or not set(chosen) <= set(range(motion.num_persons)) or len(set(chosen)) < len(chosen):
        raise InputError(f"persons are {chosen}, expected some of the {motion.num_persons} of {motion.id}, each once")
    per_person = (*PER_FRAME, "betas", "person_class")
    motion = replace(motion, **{name: getattr(motion, name)[chosen] for name in per_person})
    return Given(motion, motion.valid)


def held(
    motion: MotionSequence, joints: Sequence[str], frames: Bool[np.ndarray, "person frame"]
) -> Float32[np.ndarray, "person frame chosen 3"]:
    """Make targets of `trajectory` that hold these joints at the motion's places in the frames that are True.

    Raises InputError for an unknown joint.
    """
    places = motion.joints[:, :, _indices(joints)]
    return np.where((frames & motion.valid)[..., None, None], places, np.float32(np.nan))


def trajectory(
    targets: Sequence[Float[np.ndarray, "_ _ _ 3"]], joints: Sequence[str] = ("pelvis",), weight: float = 1.0
) -> Trajectory:
    """Make the term of guidance that leads joints along each request's targets (person, frame, joint, 3), in metres.

    Targets lie in the world of the constraint's motion; without one, the first person starts above the origin and faces
    +Y. NaN leaves a coordinate free: a path has no height, waypoints have few frames. A larger `weight` meets the
    targets more closely and changes more of what the network would do: at 1 a miss of 1 cm costs as much as a change of
    one standard deviation, such as 30 cm of the pelvis across the floor. Raises InputError where the targets do not fit
    the joints.
    """
    chosen, shapes = _indices(joints), [each.shape for each in targets]
    for shape, each in zip(shapes, targets, strict=True):
        if shape[2] != len(chosen) or np.isinf(each).any():
            raise InputError(f"targets of shape {shape} are not finite places (or NaN) of the {len(chosen)} joints")
    whole = np.full((len(targets), *np.max(shapes, axis=0)), np.nan, dtype=np.float32)
    for row, each in zip(whole, targets, strict=True):
        row[: each.shape[0], : each.shape[1]] = each
    places = torch.from_numpy(whole)
    weights = torch.full((len(targets),), weight)
    known = ~places.isnan()
    return Trajectory(weights, 0 * weights, torch.ones_like(weights), chosen, places.nan_to_num(), known)


def extend(
    generator: Generator, request: MotionRequest, start: MotionSequence | None = None, terms: Sequence[Term] = ()
) -> MotionSequence:
    """Generate a clip that may be longer than the model's `max_frames`, in windows that each go on from the last.

    `start`, if there is one, is kept as the clip's first frames. `terms` are those of a batch of this one clip. Raises
    InputError where `start` does not fit the request.
    """
    given = None if start is None else prefix(start)
    if given is not None:
        given.check(request.num_persons, request.num_frames, generator.recipe.fps, generator.body)
    if start is not None and (start.num_persons < request.num_persons or start.num_frames == request.num_frames):
        found = f"{start.num_persons} persons and {start.num_frames} frames"
        raise InputError(f"{start.id} has {found}, expected {request.num_persons} and less than {request.num_frames}")
    parts = [] if start is None else [start]
    while not parts or sum(part.num_frames for part in parts) < request.num_frames:
        parts.append(_next_frames(generator, request, parts, terms))
    made = parts[0 if start is None else 1]
    provenance = made.provenance | {"seed": str(request.seed)}
    name = request_id(request, generator.version, given, terms)
    return replace(made, id=name, provenance=provenance, **_in_turn(parts))


def _next_frames(
    generator: Generator, request: MotionRequest, parts: Sequence[MotionSequence], terms: Sequence[Term]
) -> MotionSequence:
    """Generate the frames that one more window adds to the clip."""
    done = sum(part.num_frames for part in parts)
    longest = generator.recipe.max_frames
    overlap = min(done, max(1, int(OVERLAP_SHARE * longest)))
    frames = min(request.num_frames - done + overlap, longest)
    window, given = replace(request, num_frames=frames), []
    if parts:
        state = np.random.SeedSequence([request.seed, len(parts)]).generate_state(1, np.uint64)
        window = replace(window, seed=int(state[0] >> 1))
        given = [prefix(crop(replace(parts[0], **_in_turn(parts)), done - overlap, done))]
    (piece,) = generator.generate([window], given, [_timed(term, done - overlap, frames) for term in terms])
    return crop(piece, overlap, frames)


def _indices(joints: Sequence[str]) -> tuple[int, ...]:
    if unknown := sorted(set(joints) - set(JOINT)):
        raise InputError(f"there is no joint {unknown[0]!r}, expected some of {', '.join(JOINT)}")
    return tuple(JOINT[name] for name in joints)


def _timed(term: Term, start: int, frames: int) -> Term:
    """Cut a term to so many frames of a clip."""
    values = {name: getattr(term, name)[:, :, start : start + frames] for name in TIMED if hasattr(term, name)}
    return replace(term, **values)


def _in_turn(parts: Sequence[MotionSequence]) -> dict[str, Any]:
    """Concatenate the fields that vary by frame."""
    return {name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in PER_FRAME}
