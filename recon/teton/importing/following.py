"""Persons followed over time by the overlap of their boxes, where the tool that found them followed nobody."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment

from motion.errors import InputError
from recon.teton.importing.detections import Notes, Person, overlap

LONGEST_GAP_S = 0.5  # without a box, after which a person is another one
LEAST_OVERLAP = 0.15  # intersection over union of a box with the one that is expected
NEW_SPEED = 0.5  # weight of the last step in a person's speed
FEWEST_FRAMES = 3  # of a person who was followed: fewer are a flicker of the detector


@dataclass(eq=False)
class Followed:
    """Person who is followed, with the last box and the speed of its middle."""

    box: Float64[np.ndarray, "4"]
    person_class: int
    time: float
    """Time of the last box in seconds."""
    speed: Float64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    """Pixels per second."""
    places: list[tuple[int, int]] = field(default_factory=list)
    """Frame, and place in it, of each box."""

    def expected(self, time: float) -> Float64[np.ndarray, "4"]:
        """Predict the box, which moves on as it did and keeps its size."""
        return self.box + np.tile(self.speed * (time - self.time), 2)

    def move(self, box: Float64[np.ndarray, "4"], time: float) -> None:
        """Take a new box."""
        step = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2 / max(time - self.time, 1e-3)
        self.speed = step if len(self.places) == 1 else (1 - NEW_SPEED) * self.speed + NEW_SPEED * step
        self.box, self.time = box, time


def follow(
    frames: Sequence[Sequence[Person]], times: Float64[np.ndarray, " frame"], notes: Notes
) -> list[tuple[Person, ...]]:
    """Give each person a track; those that have one keep it.

    A person without one is the person of the same class whose box, moved on at constant speed, overlaps most: the
    assignment of all persons of a frame together is optimal. Who is not seen for longer than LONGEST_GAP_S is another
    person afterwards, and who is seen in fewer than FEWEST_FRAMES frames is left out, which `notes` then say.
    Raises InputError where the tool gave two persons of a frame the same track.
    """
    _check_given(frames, times)
    tracks = _tracks(frames, times)
    taken = {person.track for persons in frames for person in persons if person.track}
    free = (name for name in map(str, count(1)) if name not in taken)
    names: dict[tuple[int, int], str] = {}
    for track in tracks:
        if len(track.places) < FEWEST_FRAMES:
            notes.add(f"a person found in fewer than {FEWEST_FRAMES} frames in a row is left out as a flicker")
        else:
            names |= dict.fromkeys(track.places, next(free))
    return [tuple(_named(persons, frame, names)) for frame, persons in enumerate(frames)]


def _check_given(frames: Sequence[Sequence[Person]], times: Float64[np.ndarray, " frame"]) -> None:
    for persons, time in zip(frames, times.tolist(), strict=True):
        given = [person.track for person in persons if person.track]
        for name in sorted(name for name in set(given) if given.count(name) > 1)[:1]:
            raise InputError(f"the frame at {time:.2f} s has two persons of the track {name}, expected one of each")


def _tracks(frames: Sequence[Sequence[Person]], times: Float64[np.ndarray, " frame"]) -> list[Followed]:
    tracks: list[Followed] = []
    for frame, (persons, time) in enumerate(zip(frames, times.tolist(), strict=True)):
        free = [place for place, person in enumerate(persons) if person.track is None]
        near = [track for track in tracks if time - track.time <= LONGEST_GAP_S + 1e-6]
        for place, track in zip(free, _assigned([persons[place] for place in free], near, time), strict=True):
            person = persons[place]
            if track is None:
                tracks.append(track := Followed(person.box, person.person_class, time))
            else:
                track.move(person.box, time)
            track.places.append((frame, place))
    return tracks


def _assigned(persons: Sequence[Person], tracks: Sequence[Followed], time: float) -> list[Followed | None]:
    """Find the track of each person; None for who is new."""
    found: list[Followed | None] = [None] * len(persons)
    if not persons or not tracks:
        return found
    boxes = np.stack([person.box for person in persons])
    shared = overlap(boxes, np.stack([track.expected(time) for track in tracks]))
    same = np.equal.outer([person.person_class for person in persons], [track.person_class for track in tracks])
    shared = np.where(same & (shared >= LEAST_OVERLAP), shared, 0.0)
    for person, track in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[person, track] > 0:
            found[person] = tracks[track]
    return found


def _named(persons: Sequence[Person], frame: int, names: dict[tuple[int, int], str]) -> Iterable[Person]:
    for place, person in enumerate(persons):
        track = person.track or names.get((frame, place))
        if track is not None:
            yield replace(person, track=track)
