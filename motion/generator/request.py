"""Request of a motion, and the id that the same request to the same model always has."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Int8
from torch import Tensor

from motion.generator.constraints import Given
from motion.guidance.terms import Term
from motion.skeleton import ACTIONS, PERSON_CLASSES


@dataclass(frozen=True)
class MotionRequest:
    """Request of one motion; lengths are frames at the model's fps."""

    prompt: str
    """Scene caption; may be empty where `person_prompts` say all."""
    num_frames: int
    """Length of the motion in frames, at most the recipe's `max_frames`."""
    num_persons: int = 1
    """Number of persons, at most the recipe's `max_persons`."""
    seed: int = 0
    """Seed of all random numbers, 0 to 2**63 - 1; the same request and seed give the same motion."""
    guidance_scale: float | None = None
    """Scale of classifier-free guidance (eq. 2.21), 0 to 100; None takes the recipe's."""
    person_class: tuple[str, ...] = ()
    """One of `PERSON_CLASSES` per person, or empty."""
    action: tuple[str, ...] = ()
    """One of `ACTIONS` per person for the whole clip, or empty."""
    person_prompts: tuple[str, ...] = ()
    """Person captions: one per person, an empty one for a person without; or none at all."""
    clean_up: bool = True
    """Whether feet are locked, the floor kept and persons pushed apart (`motion.generator.cleanup`)."""


def batch_shape(requests: Sequence[MotionRequest]) -> tuple[int, int]:
    """Compute the persons and frames of the batch: the largest of its requests."""
    return max(request.num_persons for request in requests), max(request.num_frames for request in requests)


def captions_of(request: MotionRequest) -> list[str | None]:
    """List the captions of a request: the scene caption, then one per person; None where there is none."""
    own = [caption or None for caption in request.person_prompts]
    return [request.prompt if request.prompt or not any(own) else None, *own]


def labels_of(
    request: MotionRequest, given: Given | None, person_class: str
) -> tuple[Int8[np.ndarray, " person"], Int8[np.ndarray, "person frame"]]:
    """Compute the class of each person and the action of each frame, as indices into their tables.

    Kept frames have the constraint's action, other frames the request's; a class is the request's, or else the
    constraint's. Persons with neither get `person_class`.
    """
    shape = request.num_persons, request.num_frames
    classes = np.full(shape[0], PERSON_CLASSES.index(person_class), dtype=np.int8)
    actions = np.zeros(shape, dtype=np.int8)
    if request.action:
        actions[:] = np.array([ACTIONS.index(name) for name in request.action])[:, None]
    if given is not None:
        persons, frames = given.kept.shape
        classes[:persons] = given.motion.person_class
        actions[:persons, :frames][given.kept] = given.motion.action[given.kept]
    if request.person_class:
        classes[:] = [PERSON_CLASSES.index(name) for name in request.person_class]
    return classes, actions


def optional_provenance(request: MotionRequest, given: Given | None, terms: Sequence[Term], row: int) -> dict[str, str]:
    """Build the provenance entries of features that the request used: person prompts, constraints, terms."""
    entries = {}
    if any(request.person_prompts):
        entries["person_prompts"] = json.dumps(request.person_prompts)
    if given is not None:
        entries["given"] = given.motion.id
    if names := [type(term).__name__ for term in terms if term.weight[row] > 0]:
        entries["terms"] = " ".join(names)
    return entries


def request_id(
    request: MotionRequest, model_version: str, given: Given | None = None, terms: Sequence[Term] = (), row: int = 0
) -> str:
    """Compute an id that is the same for the same request to the same model, so that bulk generation can be resumed.

    Constraints, and the terms' values for this `row` of the batch, count too.
    """
    content: list[object] = [asdict(request), model_version]
    if given is not None:
        content.append(given.digest())
    for term in terms:
        content.append([type(term).__name__, *(_hashed(value, row) for value in vars(term).values())])
    return f"generated/{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}"


def _hashed(value: Tensor | tuple[int, ...], row: int) -> str:
    own = value[row].cpu().numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode()
    return hashlib.sha256(own).hexdigest()
