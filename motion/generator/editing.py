"""Motions made around what is given of one: between, after, beside it, along a path, with joints held.

Two ways to say what is wanted. What is `Given` is kept to the bit and the network generates the rest around it. What
terms of guidance want (`trajectory`, `held`) pulls at all that is generated, and is met to centimetres.

    start, end = crop(clip, 0, 20), crop(clip, 60, 80)
    generator.generate([MotionRequest("a person walks", 80)], [in_between(start, end, 80)])

World: Z up, metres, where the given motion is; with nothing given, the first person starts above the origin and
faces +Y. `kept` and `frames`: True = is kept, is held.
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

OVERLAP = 0.25  # of the longest clip a model makes, from which it goes on
PER_FRAME = ("transl", "global_orient", "body_pose", "joints", "valid", "action")
TIMED = ("targets", "known", "keypoints", "confidence")
"""What terms of guidance know frame by frame, person and frame being axes 1 and 2."""


def prefix(motion: MotionSequence) -> Given:
    """The motion is how the clip starts."""
    return Given(motion, motion.valid)


def in_between(start: MotionSequence, end: MotionSequence, num_frames: int) -> Given:
    """The clip starts with one motion of the same people and ends with another one."""
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
    """These persons of the motion are given wherever they are valid; who else is asked for moves with them."""
    chosen = list(persons)
    if not chosen or not set(chosen) <= set(range(motion.num_persons)) or len(set(chosen)) < len(chosen):
        raise InputError(f"persons are {chosen}, expected some of the {motion.num_persons} of {motion.id}, each once")
    per_person = (*PER_FRAME, "betas", "person_class")
    motion = replace(motion, **{name: getattr(motion, name)[chosen] for name in per_person})
    return Given(motion, motion.valid)


def held(
    motion: MotionSequence, joints: Sequence[str], frames: Bool[np.ndarray, "person frame"]
) -> Float32[np.ndarray, "person frame chosen 3"]:
    """Targets of `trajectory` that hold these joints where the motion has them in these frames."""
    places = motion.joints[:, :, _indices(joints)]
    return np.where((frames & motion.valid)[..., None, None], places, np.float32(np.nan))


def trajectory(
    targets: Sequence[Float[np.ndarray, "_ _ _ 3"]], joints: Sequence[str] = ("pelvis",), weight: float = 1.0
) -> Trajectory:
    """The term of guidance that leads joints where each request's targets (person, frame, joint, 3) say.

    What is NaN is free: a path has no height, waypoints have few frames. At `weight` 1 a centimetre counts as much as
    a standard deviation of guidance's correction.
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
    """A clip that may be longer than the model's `max_frames`, as windows of which each goes on from the one before.

    `start`, if there is one, is kept as the clip's first frames. `terms` are those of a batch of this one clip.
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
    """What one more window adds to the clip."""
    done = sum(part.num_frames for part in parts)
    longest = generator.recipe.max_frames
    overlap = min(done, max(1, int(OVERLAP * longest)))
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
    """The term for so many frames of a clip."""
    values = {name: getattr(term, name)[:, :, start : start + frames] for name in TIMED if hasattr(term, name)}
    return replace(term, **values)


def _in_turn(parts: Sequence[MotionSequence]) -> dict[str, Any]:
    """What all have frame by frame, one after the other."""
    return {name: np.concatenate([getattr(part, name) for part in parts], axis=1) for name in PER_FRAME}
