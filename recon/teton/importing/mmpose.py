"""Results of MMPose 1.x: what `MMPoseInferencer` and the demos write.

A person is an object of `keypoints` (x, y of each), `keypoint_scores` and, where it was detected, `bbox`, which is
[[x0, y0, x1, y1]]. They come as a list a picture, in a file of the picture's name; for a video as a list of
{"frame_id", "instances"}; as that list under `instance_info` beside `meta_info` (the demos); or as a list of lists of
persons, one a frame, as Python returns them.
"""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import numpy as np
from jaxtyping import Float64

from motion.errors import InputError
from recon.teton.checked_json import expect, numbers, require, short
from recon.teton.importing.detections import FEWEST_SEEN, Annotations, Notes, Person, Picture, track_name, whole_box
from recon.teton.importing.file_names import number_in
from recon.teton.importing.names import MMPOSE_SETS, UNUSED, meant_names

Frame = tuple[str | None, int | None, Sequence[object], str]
"""Name of a picture, its number, its persons, and where they stand for an error."""


def read_mmpose(files: Sequence[tuple[str, object]]) -> Annotations:
    """Read one file of a video, or a file a picture, given by name and content.

    Raises InputError that names the file, what was found and what was expected.
    """
    notes, (where, content) = Notes(), files[0]
    whole = len(files) == 1 and not is_picture(content)
    frames = _frames(content, where) if whole else [_picture_frame(name, each) for name, each in files]
    names = _meta_names(content, where) or _assumed_names(frames, where, notes)
    columns = meant_names(names, where)
    for name, known in zip(names, columns, strict=True):
        if known is None and not name.startswith(UNUSED):
            notes.add(f"the keypoint {name!r} is left out: recon/keypoints.py does not know it")
    pictures = tuple(_read_picture(frame, columns, notes) for frame in frames)
    return Annotations(f"MMPose-{len(names)}", tuple(name for name in columns if name), pictures, notes.sentences())


def is_picture(content: object) -> bool:
    """Tell whether a file holds the persons of one picture, who may be none."""
    return isinstance(content, list) and all(isinstance(each, dict) and "keypoint_scores" in each for each in content)


def is_video(content: object) -> bool:
    """Tell whether a file holds frames with the persons in each."""
    if isinstance(content, dict):
        return "instance_info" in content
    if not isinstance(content, list) or not content:
        return False
    nested = all(isinstance(each, list) and is_picture(_unwrapped(each)) for each in content)
    return nested or all(isinstance(each, dict) and "instances" in each for each in content)


def _frames(content: object, where: str) -> list[Frame]:
    """List the frames of a video's file; those without numbers of their own count from 0."""
    content = content.get("instance_info") if isinstance(content, dict) else content
    frames: list[Frame] = []
    for place, frame in enumerate(expect(content, list, f"{where}: instance_info", "a list of frames")):
        spot = f"{where}: frame {place}"
        if isinstance(frame, list):
            frames.append((None, place, _unwrapped(frame), spot))
            continue
        entry = expect(frame, dict, spot, "frame_id and instances")
        number = entry.get("frame_id", place)
        good = isinstance(number, int) and not isinstance(number, bool) and number >= 0
        require(good, f"{spot}: frame_id is {short(number)}, expected a number from 0 on")
        frames.append((None, number, expect(entry.get("instances"), list, f"{spot}: instances", "a list"), spot))
    return frames


def _unwrapped(frame: list[object]) -> list[object]:
    """Return the persons of a frame, around whom `result["predictions"]` puts one list more."""
    return frame[0] if len(frame) == 1 and isinstance(frame[0], list) else frame


def _picture_frame(where: str, content: object) -> Frame:
    require(is_picture(content), f"{where}: is {short(content)}, expected a list of persons with keypoint_scores")
    name = where.rpartition("/")[2].removesuffix(".json")
    return name, number_in(name), expect(content, list, where, "a list"), where


def _meta_names(content: object, where: str) -> tuple[str, ...]:
    """Read the names of the keypoints from meta_info; none where it is not there."""
    meta = content.get("meta_info") if isinstance(content, dict) else None
    names = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if names is None:
        return ()
    by_id = expect(names, dict, f"{where}: keypoint_id2name", "names by number")
    ordered = [by_id.get(str(place)) for place in range(len(by_id))]
    if not all(isinstance(name, str) for name in ordered):
        raise InputError(f"{where}: keypoint_id2name is {short(by_id)}, expected names by number from 0 on")
    return tuple(str(name) for name in ordered)


def _assumed_names(frames: Sequence[Frame], where: str, notes: Notes) -> tuple[str, ...]:
    """Take the names of the set of MMPose's that has as many keypoints."""
    lists = [person["keypoints"] for *_, persons, _ in frames for person in persons if _has_keypoints(person)]
    found = sorted({len(each) for each in lists})
    if len(found) != 1 or found[0] not in MMPOSE_SETS:
        counts = " and ".join(map(str, found)) or "no"
        known = ", ".join(map(str, MMPOSE_SETS))
        raise InputError(
            f"{where}: persons have {counts} keypoints without names, expected one of MMPose's sets of {known}"
        )
    notes.add(f"{found[0]} keypoints without names are taken as those of MMPose's model of {found[0]}, COCO's first")
    return MMPOSE_SETS[found[0]]


def _has_keypoints(person: object) -> TypeGuard[dict[str, list[object]]]:
    return isinstance(person, dict) and isinstance(person.get("keypoints"), list)


def _read_picture(frame: Frame, columns: Sequence[str | None], notes: Notes) -> Picture:
    name, number, persons, where = frame
    read = [_read_person(each, columns, f"{where}: person {place}", notes) for place, each in enumerate(persons)]
    return Picture(name, number, persons=tuple(person for person in read if person is not None))


def _read_person(value: object, columns: Sequence[str | None], where: str, notes: Notes) -> Person | None:
    """Read a person; None for one of whom too little is seen."""
    entry = expect(value, dict, where, "keypoints and keypoint_scores")
    points = numbers(entry, "keypoints", (len(columns), 2), "[x, y] of each", where)
    scores = numbers(entry, "keypoint_scores", (len(columns),), "a score of each keypoint", where).clip(0, 1)
    known = [place for place, name in enumerate(columns) if name]
    keypoints = np.concatenate([points, scores[:, None]], axis=1)[known] * (scores[known, None] > 0)
    box = whole_box(_read_box(entry, where), keypoints)
    if box is None:
        notes.add(f"a person without a box and with fewer than {FEWEST_SEEN} keypoints is left out")
        return None
    return Person(keypoints, box, track=track_name(entry.get("track_id"), f"{where}: track_id"))


def _read_box(entry: Mapping[str, object], where: str) -> Float64[np.ndarray, "4"] | None:
    """Read a box [[x0, y0, x1, y1]], around which older versions put no second list; None where there is none."""
    box = entry.get("bbox")
    if not box:
        return None
    inner = box[0] if isinstance(box, list) and isinstance(box[0], list) else box
    return numbers({"bbox": inner}, "bbox", (4,), "[[x0, y0, x1, y1]]", where)
