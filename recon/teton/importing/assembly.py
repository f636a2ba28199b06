"""Tracks, key frames and masks of one sequence, from the annotated pictures of its frames."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from recon.teton.annotations import PERSON_LABEL, Track
from recon.teton.importing.detections import Notes, Person, Picture
from recon.teton.importing.outlines import Outline
from recon.teton.keyframes import choose_keyframes

FEWEST_FRAMES = 3  # of a person in a sequence
Size = tuple[int, int]
Mask = UInt8[np.ndarray, "height width"]


def scaled(picture: Picture, own: Size, size: Size) -> Picture:
    """Scale boxes and keypoints to frames of `size`; `own` is the size of pictures that do not say theirs.

    Outlines are left: they are drawn at the size that is asked for. Boxes and keypoints of persons who are wholly
    outside are left out.
    """
    factor = np.array(size) / (picture.size or own)
    persons = [_scaled(person, factor) for person in picture.persons]
    inside = [person for person in persons if (person.box[2:] > 0).all() and (person.box[:2] < size).all()]
    return replace(picture, size=picture.size or own, persons=tuple(inside))


def _scaled(person: Person, factor: Float64[np.ndarray, "2"]) -> Person:
    return replace(person, box=person.box * np.tile(factor, 2), keypoints=person.keypoints * np.append(factor, 1.0))


def make_tracks(steps: Sequence[Picture | None], num_keypoints: int, notes: Notes) -> tuple[Track, ...]:
    """Put the persons of each step into tracks; who is in fewer than FEWEST_FRAMES steps is left out and noted."""
    found: dict[str, list[tuple[int, Person]]] = {}
    for step, picture in enumerate(steps):
        for person in picture.persons if picture else ():
            found.setdefault(str(person.track), []).append((step, person))
    few = [name for name, places in found.items() if len(places) < FEWEST_FRAMES]
    notes.add(f"a person with fewer than {FEWEST_FRAMES} frames in a sequence is left out of it", len(few))
    names = sorted(found.keys() - set(few), key=lambda name: (len(name), name))
    return tuple(_make_track(name, found[name], len(steps), num_keypoints) for name in names)


def _make_track(name: str, places: Sequence[tuple[int, Person]], num_frames: int, num_keypoints: int) -> Track:
    classes = Counter(person.person_class for _, person in places)
    track = Track.absent(name, classes.most_common(1)[0][0], num_frames, num_keypoints)
    for step, person in places:
        track.present[step], track.boxes[step], track.keypoints[step] = True, person.box, person.keypoints
        track.action[step], track.occluded[step] = person.action, person.occluded
    return track


@dataclass(frozen=True, eq=False)
class Masks:
    """Key frames of a sequence, and their masks where outlines are there to draw."""

    keyframes: tuple[int, ...]
    """Steps of the sequence."""
    images: dict[int, Mask]
    """Label image by key frame; none where no outline is there."""


def choose_masks(
    steps: Sequence[Picture | None],
    tracks: Sequence[Track],
    room: Picture | None,
    thumbnails: UInt8[np.ndarray, "step 24 32 3"],
    size: Size,
) -> Masks:
    """Choose key frames and draw their masks.

    Key frames are chosen among the steps in which all persons are marked, or any where there is none such, or among all
    where nobody ever is. `room` is the picture whose outlines of the room are taken for steps that have none of their
    own: the camera is fixed.
    """
    marked = [_share_marked(picture) for picture in steps]
    among = [step for step, share in enumerate(marked) if share == max(marked) or max(marked) == 0]
    keyframes = tuple(among[index] for index in choose_keyframes(thumbnails[step] for step in among))
    drawn = keyframes if max(marked) > 0 else ()
    return Masks(keyframes, {step: _draw(steps[step], tracks, room, size) for step in drawn})


def _share_marked(picture: Picture | None) -> float:
    """Compute the share of a picture's persons who have an outline; 0 where nobody is there."""
    persons = picture.persons if picture else ()
    return sum(person.outline is not None for person in persons) / max(1, len(persons))


def _draw(picture: Picture | None, tracks: Sequence[Track], room: Picture | None, size: Size) -> Mask:
    """Draw a label image: the room's parts and then the persons, the smaller over the larger."""
    assert picture is not None
    labels = {track.object_id: PERSON_LABEL + place for place, track in enumerate(tracks)}
    walls = picture if picture.room else room
    parts = _areas([(part.label, part.outline) for part in walls.room], walls, size) if walls else []
    persons = [
        (labels[str(person.track)], person.outline)
        for person in picture.persons
        if person.outline and str(person.track) in labels
    ]
    mask = np.zeros(size[::-1], dtype=np.uint8)
    for label, inside in parts + _areas(persons, picture, size):
        mask[inside] = label
    return mask


def _areas(
    outlines: Sequence[tuple[int, Outline]], picture: Picture, size: Size
) -> list[tuple[int, Bool[np.ndarray, "height width"]]]:
    """Draw outlines of a picture at a size, the largest first."""
    assert picture.size is not None
    drawn = [(label, outline.pixels(picture.size, size)) for label, outline in outlines]
    return sorted(drawn, key=lambda entry: -int(entry[1].sum()))
