"""Annotations brought to the frames that they are of, by file name or by number, and to the frames' pixels."""

from collections.abc import Sequence

import numpy as np

from motion.errors import InputError
from recon.teton.checked_json import short
from recon.teton.importing.detections import Annotations, Notes, Picture
from recon.teton.importing.file_names import number_in, stem
from recon.teton.importing.recording import Recording

SAME_ASPECT = 0.01  # by which the ratios of widths and of heights may differ
BEYOND = 0.02  # share of the frames by which numbers may exceed their count, as programs count the last ones otherwise
MARGIN = 0.1  # of the picture's sides, by which keypoints may lie outside of it
MOST_OUTSIDE = 0.2  # of the keypoints


def match(annotations: Annotations, recording: Recording, notes: Notes) -> dict[int, Picture]:
    """Find the annotated picture of each frame, by number of the frame.

    Raises InputError where names or numbers fit no frame, two pictures fit one, or the pictures are not the recording's
    by their size or by the place of the keypoints.
    """
    pictures = annotations.pictures
    _check_sizes(pictures, recording, notes)
    _check_positions(pictures, recording)
    named = recording.names is not None and any(picture.name for picture in pictures)
    places = _by_name(pictures, recording.names or ()) if named else _by_number(pictures, recording, notes)
    matched: dict[int, Picture] = {}
    for place, picture in zip(places, pictures, strict=True):
        if place in matched:
            names = " and ".join(str(each.name or each.number) for each in (matched[place], picture))
            raise InputError(f"the annotations of {names} both fit frame {place}, expected one for each frame")
        if place is not None:
            matched[place] = picture
    beyond = sum(place is None or place >= recording.length for place in places)
    notes.add(f"{beyond} annotated pictures are no frames of the recording and are left out", min(1, beyond))
    return {place: picture for place, picture in sorted(matched.items()) if place < len(recording.times)}


def _by_name(pictures: Sequence[Picture], names: Sequence[str]) -> list[int | None]:
    """Find the frame of each picture among files by name, or else by the number in it; None where there is none."""
    stems = [stem(name) for name in names]
    theirs = [stem(picture.name or "") for picture in pictures]
    if not set(stems) & set(theirs):
        stems = [str(number_in(name)) for name in names]
        theirs = [str(picture.number) for picture in pictures]
    places = {name: place for place, name in enumerate(stems)}
    found = [places.get(name) for name in theirs]
    if len(places) < len(names) or not set(places) & set(theirs):
        annotated = [picture.name for picture in pictures]
        raise InputError(
            f"the annotations are of {short(annotated)}, the frames are {short(list(names))}, expected names that fit"
        )
    return found


def _by_number(pictures: Sequence[Picture], recording: Recording, notes: Notes) -> list[int | None]:
    """Find the frame of each picture by its number, counted from 0 or 1 as the smallest and the greatest show."""
    numbers, count = [picture.number for picture in pictures if picture.number is not None], recording.length
    if len(set(numbers)) < len(pictures):
        return _by_order(pictures, count, notes)
    low, high = min(numbers), max(numbers)
    if high > count + max(2, BEYOND * count):
        raise InputError(
            f"the annotations are of frames {low} to {high} and the recording has {count}, expected the recording that "
            "was annotated: it seems cut or of another rate"
        )
    first = 1 if low == 1 or (low > 1 and high >= count) else 0
    notes.add(f"frames {low} to {high} are annotated, of {count}: they are taken as counted from {first}")
    return [number - first for number in numbers]


def _by_order(pictures: Sequence[Picture], count: int, notes: Notes) -> list[int | None]:
    if len(pictures) != count:
        names = short([picture.name for picture in pictures])
        raise InputError(
            f"{len(pictures)} pictures are annotated, named {names}, and the recording has {count} frames: expected a "
            "number of its own in each name, or one picture for each frame"
        )
    notes.add("the names of the pictures do not number them: they are taken as all frames in the order of their ids")
    return list(range(count))


def _check_sizes(pictures: Sequence[Picture], recording: Recording, notes: Notes) -> None:
    """Raise InputError for annotated pictures of another shape than the frames'; another size is noted."""
    for width, height in {picture.size for picture in pictures if picture.size}:
        own = f"{recording.size[0]}x{recording.size[1]}"
        if not any(_same_shape((width, height), size) for size in (recording.size, recording.shown_size)):
            turned = _same_shape((height, width), recording.size)
            hint = ", which is turned: annotate it as players show it" if turned else ": annotate this very recording"
            raise InputError(
                f"the annotations are of {width}x{height} and the frames are {own}, expected one shape{hint}"
            )
        if (width, height) != recording.size:
            notes.add(f"the annotations are of {width}x{height} and the frames {own}: positions are scaled")


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= SAME_ASPECT


def _check_positions(pictures: Sequence[Picture], recording: Recording) -> None:
    """Raise InputError where keypoints are shares of the picture, or lie outside of it."""
    sizes = [picture.size or recording.size for picture in pictures for _ in picture.persons]
    persons = [person.keypoints for picture in pictures for person in picture.persons]
    if not persons:
        raise InputError("the annotations hold no person, expected persons with keypoints")
    points = np.concatenate(persons)
    seen = points[:, 2] > 0
    limits = np.repeat(np.array(sizes), len(persons[0]), axis=0)[seen]
    points = points[seen, :2]
    if len(points) and np.abs(points).max() <= 1:
        raise InputError(
            "keypoints reach from -1 to 1 at most, which look like shares of the picture, expected pixels: for "
            "OpenPose leave --keypoint_scale at 0"
        )
    outside = ((points < -MARGIN * limits) | (points > (1 + MARGIN) * limits)).any(axis=1)
    if outside.mean() > MOST_OUTSIDE if len(points) else False:
        reach = "x".join(f"{value:.0f}" for value in points.max(axis=0))
        size = f"{recording.size[0]}x{recording.size[1]}"
        raise InputError(
            f"{outside.mean():.0%} of the keypoints lie outside the frames of {size} (they reach to {reach}), expected "
            "annotations of this very recording"
        )
