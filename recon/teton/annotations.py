"""File annotations.json of a Teton sequence: meta and persons, read with all faults collected, and written.

`recon.teton.tree` describes the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8

from motion.errors import InputError
from motion.skeleton import ACTIONS, PERSON_CLASSES
from recon.keypoints import FEWEST, KEYPOINT_NAMES
from recon.teton.checked_json import expect, get, is_number, numbers, require, short
from recon.teton.faults import Faults

PERSON_LABEL = 128
"""Label of the first person in a mask; person k (in the order of the annotations) is PERSON_LABEL + k."""
MOST_PERSONS = 256 - PERSON_LABEL
IMAGE_SIDES = (16, 16384)  # pixels
FPS_RANGE = (1.0, 240.0)
FOCAL_RANGE = (0.2, 20.0)  # of the image's width: fields of view of 136 to 3 degrees
MOST_ANISOTROPY = 1.5  # of the two focal lengths
MIDDLE = (0.25, 0.75)  # of the image's sides, between which the principal point lies


@dataclass(frozen=True, eq=False)
class Track:
    """Annotated person over all frames of a sequence; positions in pixels."""

    object_id: str
    """Key of the person in annotations.json."""
    person_class: int
    """Index into `motion.skeleton.PERSON_CLASSES`."""
    present: Bool[np.ndarray, " frame"]
    """True where the person is annotated."""
    boxes: Float32[np.ndarray, "frame 4"]
    """Box x0, y0, x1, y1 in pixels; zeros where absent."""
    keypoints: Float32[np.ndarray, "frame keypoint 3"]
    """Keypoints x, y in pixels and score (0 to 1); zeros where absent or not annotated."""
    action: Int8[np.ndarray, " frame"]
    """Index into `motion.skeleton.ACTIONS` (0 unknown), which is 1 + the file's."""
    occluded: Bool[np.ndarray, " frame"]
    """True where the annotators say that the person is partly hidden."""

    @classmethod
    def absent(cls, object_id: str, person_class: int, num_frames: int, num_keypoints: int) -> "Track":
        """Make a track of zeros, in which the person is annotated in no frame."""
        return cls(
            object_id,
            person_class,
            present=np.zeros(num_frames, dtype=bool),
            boxes=np.zeros((num_frames, 4), dtype=np.float32),
            keypoints=np.zeros((num_frames, num_keypoints, 3), dtype=np.float32),
            action=np.zeros(num_frames, dtype=np.int8),
            occluded=np.zeros(num_frames, dtype=bool),
        )


@dataclass(frozen=True, eq=False)
class Meta:
    """Facts about the whole sequence; None where the file does not have them right."""

    image_size: tuple[int, int] | None = None
    """Width and height of every frame in pixels."""
    fps: float | None = None
    """Frames per second."""
    intrinsics: Float64[np.ndarray, "3 3"] | None = None
    """Pinhole matrix in pixels; None also where the file leaves it out."""
    keypoint_names: tuple[str, ...] | None = None
    """Names of the keypoints in their order."""


@dataclass(frozen=True)
class Known:
    """Facts that annotations of a frame are checked against; None where they are not known, and nothing is checked."""

    image_size: tuple[int, int] | None
    """Width and height of every frame in pixels."""
    num_keypoints: int | None
    """Number of keypoints of a person."""
    num_frames: int | None
    """Number of frames."""


@dataclass(frozen=True, eq=False)
class Annotation:
    """Annotation of a person in a frame; None where the file does not have it right."""

    box: Float64[np.ndarray, "4"] | None
    keypoints: Float64[np.ndarray, "keypoint 3"] | None
    action: int | None
    occluded: bool | None


def read_meta(content: Mapping[str, object], path: Path, faults: Faults) -> Meta:
    """Read `meta` and note what is wrong with it."""
    meta, where = faults.attempt(get, content, "meta", dict, str(path)), f"{path}: meta"
    if meta is None:
        return Meta()
    size = faults.attempt(_read_image_size, meta, where)
    return Meta(
        size,
        keypoint_names=faults.attempt(_read_keypoint_names, meta, where),
        fps=faults.attempt(_read_fps, meta, where),
        intrinsics=faults.attempt(_read_intrinsics, meta, size, where),
    )


def read_tracks(content: Mapping[str, object], path: Path, known: Known, faults: Faults) -> tuple[Track, ...]:
    """Read the persons and note what is wrong with them; those of a sequence with faults are left out."""
    objects = faults.attempt(_find_objects, content, path) or {}
    tracks = [_read_track(key, value, known, f"{path}: object {key}", faults) for key, value in objects.items()]
    whole = tuple(track for track in tracks if track is not None)
    if whole and not faults:
        faults.attempt(_check_together, whole, known, path)
    return whole


def to_json(track: Track) -> dict[str, object]:
    """Convert a person to the object of the file that `read_tracks` reads."""
    frames = {
        str(number): {
            "box": box.tolist(),
            "center": [float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2],
            "keypoints": track.keypoints[number].tolist(),
            "action": int(track.action[number]) - 1 if track.action[number] else None,
            "occluded": bool(track.occluded[number]),
        }
        for number, box in enumerate(track.boxes)
        if track.present[number]
    }
    return {"class": PERSON_CLASSES[track.person_class], "frames": frames}


def require_valid(
    folder: Path,
    tracks: Sequence[Track],
    *,
    image_size: tuple[int, int],
    fps: float,
    intrinsics: Float64[np.ndarray, "3 3"] | None,
    keypoint_names: Sequence[str],
    num_frames: int,
) -> None:
    """Raise InputError for what a reader would find wrong with the annotations of a sequence, before it is written."""
    path, faults = folder / "annotations.json", Faults(folder)
    content = to_content(tracks, image_size, fps, intrinsics, keypoint_names)
    meta = read_meta(content, path, faults)
    read_tracks(content, path, Known(meta.image_size, len(keypoint_names), num_frames), faults)
    if faults:
        raise faults.error()


def to_content(
    tracks: Sequence[Track],
    image_size: tuple[int, int],
    fps: float,
    intrinsics: Float64[np.ndarray, "3 3"] | None,
    keypoint_names: Sequence[str],
) -> dict[str, object]:
    """Put meta and persons into the object that annotations.json holds."""
    meta: object = {
        "image_size": list(image_size),
        "fps": fps,
        "intrinsics": None if intrinsics is None else intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(),
        "keypoint_names": list(keypoint_names),
    }
    return {"meta": meta} | {track.object_id: to_json(track) for track in tracks}


def _read_image_size(meta: Mapping[str, object], where: str) -> tuple[int, int]:
    size = numbers(meta, "image_size", (2,), "[width, height]", where)
    low, high = IMAGE_SIDES
    possible = (size == size.round()).all() and (size >= low).all() and (size <= high).all()
    require(bool(possible), f"{where}: image_size is {size.tolist()}, expected whole pixels from {low} to {high}")
    return int(size[0]), int(size[1])


def _read_fps(meta: Mapping[str, object], where: str) -> float:
    fps = meta.get("fps")
    if not is_number(fps) or not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise InputError(f"{where}: fps is {short(fps)}, expected {FPS_RANGE[0]:g} to {FPS_RANGE[1]:g}")
    return float(fps)


def _read_keypoint_names(meta: Mapping[str, object], where: str) -> tuple[str, ...]:
    names = get(meta, "keypoint_names", list, where)
    for index, name in enumerate(names):
        require(isinstance(name, str), f"{where}: keypoint_names holds {short(name)}, expected names")
        require(name not in names[:index], f"{where}: keypoint_names holds {name!r} twice, expected each name once")
    found = [name for name in names if name in KEYPOINT_NAMES]
    require(
        len(found) >= FEWEST,
        f"{where}: of keypoint_names {short(names)} {len(found)} are known, expected at least {FEWEST} of "
        f"{', '.join(KEYPOINT_NAMES)}",
    )
    return tuple(names)


def _read_intrinsics(
    meta: Mapping[str, object], image_size: tuple[int, int] | None, where: str
) -> Float64[np.ndarray, "3 3"] | None:
    """Read the pinhole matrix; None where the file does not have it, or its size is not known to check it by."""
    if meta.get("intrinsics") is None:
        return None
    fx, fy, cx, cy = numbers(meta, "intrinsics", (4,), "[fx, fy, cx, cy] or null", where).tolist()
    if image_size is None:
        return None
    width, height = image_size
    low, high = FOCAL_RANGE[0] * width, FOCAL_RANGE[1] * width
    for focal in (fx, fy):
        require(
            low <= focal <= high,
            f"{where}: intrinsics has the focal length {focal:g}, expected {low:g} to {high:g} pixels at this width",
        )
    require(
        max(fx, fy) <= MOST_ANISOTROPY * min(fx, fy),
        f"{where}: intrinsics has the focal lengths {fx:g} and {fy:g}, expected them to be much the same",
    )
    low, high = MIDDLE
    require(
        low * width <= cx <= high * width and low * height <= cy <= high * height,
        f"{where}: intrinsics has the principal point ({cx:g}, {cy:g}), expected it near the middle of the "
        f"{width}x{height} image",
    )
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _find_objects(content: Mapping[str, object], path: Path) -> dict[str, object]:
    # A plain value beside the objects is an unknown key such as a version.
    objects = {
        key: value for key, value in content.items() if key != "meta" and not isinstance(value, str | int | float)
    }
    require(bool(objects), f"{path}: holds 0 persons, expected at least one object id beside meta")
    require(len(objects) <= MOST_PERSONS, f"{path}: holds {len(objects)} persons, expected at most {MOST_PERSONS}")
    return objects


def _check_together(tracks: tuple[Track, ...], known: Known, path: Path) -> None:
    """Check what only all persons together show; raises InputError."""
    farthest = max(float(track.boxes.max()) for track in tracks)
    in_percent = farthest <= 100 and known.image_size is not None and min(known.image_size) >= 200
    require(not in_percent, f"{path}: boxes reach to {farthest:g}, which looks like percent, expected pixels")
    annotated = any((track.keypoints[..., 2] > 0).any() for track in tracks)
    require(annotated, f"{path}: keypoints have a score above 0 nowhere, expected some annotated keypoints")


def _read_track(object_id: str, value: object, known: Known, where: str, faults: Faults) -> Track | None:
    """Read a person and note what is wrong; None where anything in the sequence is, so far."""
    person = faults.attempt(expect, value, dict, where, "class and frames")
    if person is None:
        return None
    kind = faults.attempt(_read_class, person, where)
    annotated: dict[int, Annotation] = {}
    for key, entry in (faults.attempt(_read_frames, person, where) or {}).items():
        number = faults.attempt(_read_number, key, known, annotated, f"{where}, frame {key}")
        annotation = _read_annotation(entry, known, f"{where}, frame {key}", faults)
        if number is not None and annotation is not None:
            annotated[number] = annotation
    if faults or kind is None or known.num_frames is None or known.num_keypoints is None:
        return None
    return _to_track(object_id, kind, annotated, known.num_frames, known.num_keypoints)


def _to_track(
    object_id: str, kind: int, annotated: Mapping[int, Annotation], num_frames: int, num_keypoints: int
) -> Track:
    track = Track.absent(object_id, kind, num_frames, num_keypoints)
    for number, annotation in annotated.items():
        track.present[number] = True
        track.boxes[number], track.keypoints[number] = annotation.box, annotation.keypoints
        track.action[number], track.occluded[number] = annotation.action, annotation.occluded
    return track


def _read_class(person: Mapping[str, object], where: str) -> int:
    kind = get(person, "class", str, where)
    require(kind in PERSON_CLASSES, f"{where}: class is {short(kind)}, expected one of {', '.join(PERSON_CLASSES)}")
    return PERSON_CLASSES.index(kind)


def _read_frames(person: Mapping[str, object], where: str) -> dict[str, object]:
    frames = get(person, "frames", dict, where)
    require(bool(frames), f"{where}: frames is empty, expected at least one annotated frame")
    return frames


def _read_number(key: str, known: Known, taken: Mapping[int, object], where: str) -> int:
    """Read the number of a frame, whose key may be "7" or "000007"."""
    last = known.num_frames - 1 if known.num_frames is not None else 10**9
    possible = key.isdecimal() and len(key) < 10 and int(key) <= last
    require(possible, f"{where}: there is no such frame, expected a number from 0 to {last}")
    require(int(key) not in taken, f"{where}: comes twice, expected each frame once")
    return int(key)


def _read_annotation(entry: object, known: Known, where: str, faults: Faults) -> Annotation | None:
    """Read a person's annotation in a frame and note all that is wrong with it."""
    annotation = faults.attempt(expect, entry, dict, f"{where}:", "box, keypoints, …")
    if annotation is None:
        return None
    box = faults.attempt(_read_box, annotation, known.image_size, where)
    faults.attempt(numbers, annotation, "center", (2,), "[x, y]", where)
    return Annotation(
        box,
        faults.attempt(_read_keypoints, annotation, known.num_keypoints, box, where),
        faults.attempt(_read_action, annotation, where),
        faults.attempt(get, annotation, "occluded", bool, where),
    )


def _read_box(
    annotation: Mapping[str, object], image_size: tuple[int, int] | None, where: str
) -> Float64[np.ndarray, "4"]:
    box = numbers(annotation, "box", (4,), "[x0, y0, x1, y1]", where)
    require(
        bool((box[:2] < box[2:]).all()),
        f"{where}: box is {box.tolist()}, expected [x0, y0, x1, y1] with x0 < x1, y0 < y1",
    )
    shares = (box >= 0).all() and (box <= 1).all()
    require(not shares, f"{where}: box is {box.tolist()}, which looks like shares of the image, expected pixels")
    if image_size is None:
        return box
    inside = (box[2:] > 0).all() and (box[:2] < image_size).all()
    size = f"{image_size[0]}x{image_size[1]}"
    require(bool(inside), f"{where}: box {box.tolist()} lies outside the image, expected it to overlap the {size}")
    return box


def _read_keypoints(
    annotation: Mapping[str, object], count: int | None, box: Float64[np.ndarray, "4"] | None, where: str
) -> Float64[np.ndarray, "keypoint 3"]:
    """Read keypoints, with zeros where the score is 0; their middle must lie in the box or within its size of it."""
    found = len(get(annotation, "keypoints", list, where))
    require(
        found == count or count is None,
        f"{where}: keypoints has {found} entries, expected {count} as keypoint_names in meta has",
    )
    keypoints = numbers(annotation, "keypoints", (found, 3), "[x, y, score] of each", where)
    score = keypoints[:, 2]
    wrong = score[(score < 0) | (score > 1)]
    require(not wrong.size, f"{where}: keypoints has the score {wrong[:1]}, expected 0 to 1")
    if (score > 0).any() and box is not None:
        middle, size = np.median(keypoints[score > 0, :2], axis=0), box[2:] - box[:2]
        near = (middle > box[:2] - size).all() and (middle < box[2:] + size).all()
        require(
            bool(near),
            f"{where}: keypoints lie about {middle.round(2).tolist()}, far outside the box {box.tolist()}, "
            "expected both in pixels of the image",
        )
    return keypoints * (score > 0)[:, None]


def _read_action(annotation: Mapping[str, object], where: str) -> int:
    """Read an action as index into ACTIONS."""
    action = annotation.get("action")
    if action is None:
        return 0
    if not isinstance(action, int) or isinstance(action, bool) or not 0 <= action < len(ACTIONS) - 1:
        known = f"0 to {len(ACTIONS) - 2} ({', '.join(ACTIONS[1:])})"
        raise InputError(f"{where}: action is {short(action)}, expected {known}")
    return 1 + action
