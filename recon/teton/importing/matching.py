"""Annotations brought to the frames that they are of, by file name or by number, and to the frames' pixels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

from motion.errors import InputError
from recon.teton.checked_json import require, short
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
    beyond = sum(place is None or place >= recording.length for place in places)
    notes.add(f"{beyond} annotated pictures are no frames of the recording and are left out", min(1, beyond))
    matched = _by_frame(places, pictures)
    return {place: picture for place, picture in sorted(matched.items()) if place < len(recording.times)}


def _by_frame(places: Sequence[int | None], pictures: Sequence[Picture]) -> dict[int, Picture]:
    """Order pictures by the number of their frame; raises InputError where two have one."""
    matched: dict[int, Picture] = {}
    for place, picture in zip(places, pictures, strict=True):
        if place in matched:
            names = " and ".join(str(each.name or each.number) for each in (matched[place], picture))
            raise InputError(f"the annotations of {names} both fit frame {place}, expected one for each frame")
        if place is not None:
            matched[place] = picture
    return matched


def _by_name(pictures: Sequence[Picture], names: Sequence[str]) -> list[int | None]:
    """Find the frame of each picture among files by name, or else by the number in it; None where there is none."""
    stems = [stem(name) for name in names]
    theirs = [stem(picture.name or "") for picture in pictures]
    if not set(stems) & set(theirs):
        stems = [str(number_in(name)) for name in names]
        theirs = [str(picture.number) for picture in pictures]
    places = {name: place for place, name in enumerate(stems)}
    annotated, frames = short([picture.name for picture in pictures]), short(list(names))
    fit = len(places) == len(names) and bool(set(places) & set(theirs))
    require(fit, f"the annotations are of {annotated}, the frames are {frames}, expected names that fit")
    return [places.get(name) for name in theirs]


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
    names = short([picture.name for picture in pictures])
    found = f"{len(pictures)} pictures are annotated, named {names}, and the recording has {count} frames"
    require(len(pictures) == count, f"{found}, expected a number of its own in each name, or one for each frame")
    notes.add("the names of the pictures do not number them: they are taken as all frames in the order of their ids")
    return list(range(count))


def _check_sizes(pictures: Sequence[Picture], recording: Recording, notes: Notes) -> None:
    """Raise InputError for annotated pictures of another shape than the frames'; another size is noted."""
    for width, height in {picture.size for picture in pictures if picture.size}:
        sizes = f"the annotations are of {width}x{height} and the frames of {recording.size[0]}x{recording.size[1]}"
        fits = any(_same_shape((width, height), size) for size in (recording.size, recording.shown_size))
        turned = _same_shape((height, width), recording.size)
        hint = ", which is turned: annotate it as players show it" if turned else ": annotate this very recording"
        require(fits, f"{sizes}, expected one shape{hint}")
        notes.add(f"{sizes}: positions are scaled", int((width, height) != recording.size))


def _same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= SAME_ASPECT


def _check_positions(pictures: Sequence[Picture], recording: Recording) -> None:
    """Raise InputError where keypoints are shares of the picture, or lie outside of it."""
    sizes = [picture.size or recording.size for picture in pictures for _ in picture.persons]
    persons = [person.keypoints for picture in pictures for person in picture.persons]
    require(bool(persons), "the annotations hold no person, expected persons with keypoints")
    points = np.concatenate(persons)
    limits = np.repeat(np.array(sizes), len(persons[0]), axis=0)
    seen = points[:, 2] > 0
    if seen.any():
        _require_pixels(points[seen, :2])
        _require_inside(points[seen, :2], limits[seen], recording)


def _require_pixels(points: Float64[np.ndarray, "point 2"]) -> None:
    if np.abs(points).max() <= 1:
        raise InputError(
            "keypoints reach from -1 to 1 at most, which look like shares of the picture, expected pixels: for "
            "OpenPose leave --keypoint_scale at 0"
        )


def _require_inside(
    points: Float64[np.ndarray, "point 2"], limits: Int64[np.ndarray, "point 2"], recording: Recording
) -> None:
    outside = ((points < -MARGIN * limits) | (points > (1 + MARGIN) * limits)).any(axis=1).mean()
    if outside > MOST_OUTSIDE:
        reach, (width, height) = "x".join(f"{value:.0f}" for value in points.max(axis=0)), recording.size
        raise InputError(
            f"{outside:.0%} of the keypoints lie outside the frames of {width}x{height} (they reach to {reach}), "
            "expected annotations of this very recording"
        )
