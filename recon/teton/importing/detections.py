"""Persons and things in pictures, as an annotation tool or a detector wrote them, whichever it was.

Positions are pixels of the picture that was annotated, from its upper left corner.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from motion.errors import InputError
from recon.teton.checked_json import short
from recon.teton.importing.outlines import Outline

HIDDEN_SCORE = 0.3  # score of a keypoint that annotators placed although something hides it, as in recon.simulate
PADDING = 0.12  # of the keypoints' larger extent: head, hands and feet reach beyond their keypoints
LEAST_PADDING_PX = 4.0
FEWEST_SEEN = 4  # keypoints with a score above 0 that make a person where there is no box


@dataclass(frozen=True, eq=False)
class Person:
    """Person in one picture."""

    keypoints: Float64[np.ndarray, "keypoint 3"]
    """Keypoints x, y and score (0 to 1) in the order of `Annotations.keypoint_names`; zeros where not annotated."""
    box: Float64[np.ndarray, "4"]
    """Box x0, y0, x1, y1."""
    person_class: int = 1
    """Index into `motion.skeleton.PERSON_CLASSES`."""
    action: int = 0
    """Index into `motion.skeleton.ACTIONS`; 0 where it is unknown."""
    occluded: bool = False
    """True where the annotators say that the person is partly hidden."""
    track: str | None = None
    """Name of the person over time; None where the tool followed nobody."""
    outline: Outline | None = None
    """Pixels of the person; None where they are not marked."""


@dataclass(frozen=True, eq=False)
class RoomPart:
    """Part of the room in one picture, such as the floor."""

    label: int
    """Index into `motion.sequence.LABELS`."""
    outline: Outline
    """Pixels of the part."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Annotations of one picture."""

    name: str | None
    """Name of the picture's file; None where the tool wrote none."""
    number: int | None
    """Number of the frame as the tool counts, from 0 or from 1; None where there is none."""
    size: tuple[int, int] | None = None
    """Width and height of the picture; None where the tool wrote none."""
    persons: tuple[Person, ...] = ()
    """Persons in the picture."""
    room: tuple[RoomPart, ...] = ()
    """Parts of the room that are marked."""


@dataclass(frozen=True, eq=False)
class Annotations:
    """All that one tool wrote about a video."""

    kind: str
    """Name of the format, such as "COCO keypoints"."""
    keypoint_names: tuple[str, ...]
    """Names of `recon.keypoints`."""
    pictures: tuple[Picture, ...]
    """Annotated pictures, those without persons included."""
    notes: tuple[str, ...] = ()
    """Sentences about what was assumed or left out."""


class Notes:
    """Sentences about what was assumed or left out, each once, with how often."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()

    def add(self, sentence: str, times: int = 1) -> None:
        """Add a sentence `times` times."""
        self._times[sentence] += times

    def sentences(self) -> tuple[str, ...]:
        """List the sentences in the order in which they came up."""
        return tuple(f"{text} ({times} times)" if times > 1 else text for text, times in self._times.items() if times)


def box_around(keypoints: Float64[np.ndarray, "keypoint 3"]) -> Float64[np.ndarray, "4"]:
    """Put a box around the keypoints that have a score, padded as a person's box is; at least one must have one."""
    low, high = _extent(keypoints)
    padding = max(LEAST_PADDING_PX, PADDING * float((high - low).max()))
    return np.concatenate([low - padding, high + padding])


def whole_box(
    box: Float64[np.ndarray, "4"] | None, keypoints: Float64[np.ndarray, "keypoint 3"]
) -> Float64[np.ndarray, "4"] | None:
    """Return the box of a whole person; None where neither a box nor keypoints enough are there to make one.

    Tools that annotate skeletons write the box of the keypoints alone, which cuts off head, hands and feet: such a box
    is padded, too.
    """
    seen = keypoints[keypoints[:, 2] > 0]
    if box is not None and (box[2:] > box[:2]).all():
        tight = len(seen) >= FEWEST_SEEN and np.abs(box - np.concatenate(_extent(keypoints))).max() <= 1
        return box_around(keypoints) if tight else box
    return box_around(keypoints) if len(seen) >= FEWEST_SEEN else None


def overlap(one: Float64[np.ndarray, "a 4"], other: Float64[np.ndarray, "b 4"]) -> Float64[np.ndarray, "a b"]:
    """Compute the intersection over union of each box of one set with each of the other."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=-1)
    union = _area(one)[:, None] + _area(other)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def track_name(value: object, where: str) -> str | None:
    """Read the name of a person over time, a number or text; None where the tool followed nobody."""
    if value is None or value in ("", -1):
        return None
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise InputError(f"{where} is {short(value)}, expected a number")
    return str(value)


def _area(boxes: Float64[np.ndarray, "box 4"]) -> Float64[np.ndarray, " box"]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)


def _extent(keypoints: Float64[np.ndarray, "keypoint 3"]) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, "2"]]:
    seen = keypoints[keypoints[:, 2] > 0, :2]
    return seen.min(axis=0), seen.max(axis=0)
