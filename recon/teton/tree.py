"""The Teton tree: annotated room videos on disk, one folder a sequence.

    ROOT/DEPARTMENT/DEVICE/DATE/DATETIME/     one fixed camera for a few seconds, say 100 frames at 10 fps
        frames/000000.jpg 000001.jpg …        JPEG, numbered from 0 without a gap, at least 3, all of one size
        annotations.json                      who is where and does what, below
        keyframes.json                        optional: frame numbers such as [0, 17, 61]
        masks/000017.png                      8-bit label image (grey or palette) of each key frame, same size

An image's EXIF orientation counts: size, boxes, keypoints and masks are those of the image as it is shown.

A mask's pixel holds the index of its class in `motion.sequence.LABELS`: 0 none, 1 floor, 2 wall, 3 bed, 4 sofa,
5 chair, 6 wardrobe, 7 table, 8 door, 9 window; or 128 + k for person k, k being the place (from 0) of the person's
object in annotations.json. The floor and the persons have to be marked, the rest makes the scene's labels. Where
keyframes.json is missing, key frames are chosen among the frames that have a mask, by image similarity.

annotations.json is one object: `meta`, and for each person an object under an id of your own:

    {
      "meta": {
        "image_size": [640, 480],
        "fps": 10.0,
        "intrinsics": [500.0, 500.0, 320.0, 240.0],
        "keypoint_names": ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"]
      },
      "7": {
        "class": "patient",
        "frames": {
          "0": {
            "box": [200, 100, 300, 400],
            "center": [250, 250],
            "keypoints": [[250, 120, 0.9], [230, 170, 1.0], [270, 170, 1.0], [235, 270, 0.8], [0, 0, 0]],
            "action": 5,
            "occluded": false
          }
        }
      }
    }

    meta.image_size      required   width, height in pixels, 16 to 16384
    meta.fps             required   frames per second, 1 to 240
    meta.intrinsics      optional   fx, fy, cx, cy in pixels; null or missing: estimated from the people and the floor
    meta.keypoint_names  required   names in the order of `keypoints`, each once; at least 4 that `recon.keypoints`
                                    knows, such as those of a set in `motion.skeleton.KEYPOINT_SETS`
    ID.class             required   a name of `motion.skeleton.PERSON_CLASSES`
    ID.frames            required   the frames in which the person is annotated, at least one, by number in quotes
    box                  required   x0, y0, x1, y1 in pixels; may reach beyond the image, not lie outside it
    center               required   x, y in pixels; checked to be two numbers and otherwise ignored
    keypoints            required   x, y in pixels and score (0 to 1) of each name; score 0 = not annotated; most
                                    lie in or near the box
    action               optional   index into the twelve actions, from 0 = laying_in_bed (`motion.skeleton.ACTIONS`
                                    without its first, unknown); null or missing: unknown
    occluded             required   true = something hides part of the person (read, but scores alone count)

Unknown keys are ignored. A missing or malformed one raises `InputError` with the file, the key, what was found and what
was expected. Pixels count from the upper left corner, x to the right and y down.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, UInt8
from PIL import Image

from motion.errors import InputError
from motion.sequence import LABELS
from motion.skeleton import ACTIONS, PERSON_CLASSES
from recon.keypoints import FEWEST, KEYPOINT_NAMES
from recon.teton.checked_json import expect, get, is_number, numbers, read_json, require, short, write_json
from recon.teton.images import frame_path, mask_path, open_image, open_mask, read_frame, read_labels
from recon.teton.keyframes import read_keyframes

PERSON_LABEL = 128
"""Label of the first person in a mask; person k (in the order of the annotations) is PERSON_LABEL + k."""
MOST_PERSONS = 256 - PERSON_LABEL
FEWEST_FRAMES = 3  # an acceleration needs three
IMAGE_SIDES = (16, 16384)  # pixels
FPS_RANGE = (1.0, 240.0)
FOCAL_RANGE = (0.2, 20.0)  # of the image's width: fields of view of 136 to 3 degrees


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
class TetonSequence:
    """One sequence without its pixels, which `frame` and `mask` read on demand."""

    folder: Path
    """Folder of the sequence."""
    id: str
    """Name of the sequence, DEPARTMENT/DEVICE/DATE/DATETIME."""
    image_size: tuple[int, int]
    """Width and height of every frame in pixels."""
    fps: float
    """Frames per second."""
    intrinsics: Float64[np.ndarray, "3 3"] | None
    """Pinhole matrix in pixels; None where the annotations do not know it."""
    keypoint_names: tuple[str, ...]
    """Names of the axis `keypoint` of each track."""
    num_frames: int
    """Number of frames."""
    tracks: tuple[Track, ...]
    """Persons in the order of annotations.json, which numbers them in the masks."""
    keyframes: tuple[int, ...]
    """Frame numbers that have a mask, sorted."""

    def frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one frame as RGB; raises InputError for a damaged image."""
        return read_frame(frame_path(self.folder, number), self.image_size)

    def mask(self, keyframe: int) -> UInt8[np.ndarray, "height width"]:
        """Read the label image of a key frame; raises InputError for a label that is not known."""
        known = dict(enumerate(LABELS)) | {PERSON_LABEL + k: f"person {k}" for k in range(len(self.tracks))}
        return read_labels(mask_path(self.folder, keyframe), self.image_size, known)


def list_sequences(root: Path) -> list[Path]:
    """List the folders ROOT/DEPARTMENT/DEVICE/DATE/DATETIME that hold a sequence or parts of one, sorted."""
    return sorted(
        folder
        for folder in root.glob("*/*/*/*")
        if (folder / "annotations.json").is_file() or (folder / "frames").is_dir()
    )


def sequence_id(folder: Path) -> str:
    """Derive a sequence's id DEPARTMENT/DEVICE/DATE/DATETIME from its folder."""
    return "/".join(folder.absolute().parts[-4:])


def read_sequence(folder: Path) -> TetonSequence:
    """Read a sequence, checked in all but its pixels; raises InputError that names the file and the wrong key.

    Only the headers of frames and masks are read, unless keyframes.json is missing.
    """
    path = folder / "annotations.json"
    content = expect(read_json(path), dict, f"{path}:", "an object of meta and object ids")
    meta, where = get(content, "meta", dict, str(path)), f"{path}: meta"
    image_size = _read_image_size(meta, where)
    names = _read_keypoint_names(meta, where)
    fps = _read_fps(meta, where)
    intrinsics = _read_intrinsics(meta, image_size, where)
    num_frames = _count_frames(folder, image_size)
    tracks = _read_tracks(path, content, num_frames, len(names), image_size)
    keyframes = read_keyframes(folder, num_frames, image_size)
    for number in keyframes:
        open_mask(mask_path(folder, number), image_size).close()
    return TetonSequence(folder, sequence_id(folder), image_size, fps, intrinsics, names, num_frames, tracks, keyframes)


def write_sequence(
    folder: Path,
    *,
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    tracks: Sequence[Track],
    image_size: tuple[int, int],
    fps: float,
    intrinsics: Float64[np.ndarray, "3 3"] | None,
    keypoint_names: Sequence[str],
    keyframes: Sequence[int],
    masks: Mapping[int, UInt8[np.ndarray, "height width"]],
    quality: int = 90,
) -> None:
    """Write one sequence in place of any that was there; annotations.json comes last: with it the sequence is whole.

    `quality` is JPEG's. `read_sequence` returns the same tracks, provided they are valid for it.
    """
    _make_empty(folder)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(frame_path(folder, number), quality=quality)
    for number, mask in masks.items():
        Image.fromarray(mask).save(mask_path(folder, number))
    write_json(folder / "keyframes.json", list(keyframes))
    meta = {
        "image_size": list(image_size),
        "fps": fps,
        "intrinsics": None if intrinsics is None else intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(),
        "keypoint_names": list(keypoint_names),
    }
    write_json(folder / "annotations.json", {"meta": meta} | {track.object_id: _to_json(track) for track in tracks})


def _make_empty(folder: Path) -> None:
    """Make the folders of a sequence and remove the sequence that was there, its annotations.json first."""
    (folder / "annotations.json").unlink(missing_ok=True)
    for name, kind in (("frames", "*.jpg"), ("masks", "*.png")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for stale in (folder / name).glob(kind):
            stale.unlink()


def _to_json(track: Track) -> dict[str, object]:
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
    meta: Mapping[str, object], image_size: tuple[int, int], where: str
) -> Float64[np.ndarray, "3 3"] | None:
    """Read the pinhole matrix; None where the file does not have it."""
    if meta.get("intrinsics") is None:
        return None
    fx, fy, cx, cy = numbers(meta, "intrinsics", (4,), "[fx, fy, cx, cy] or null", where).tolist()
    width, height = image_size
    low, high = FOCAL_RANGE[0] * width, FOCAL_RANGE[1] * width
    for focal in (fx, fy):
        require(
            low <= focal <= high,
            f"{where}: intrinsics has the focal length {focal:g}, expected {low:g} to {high:g} pixels at this width",
        )
    require(
        0 <= cx <= width and 0 <= cy <= height,
        f"{where}: intrinsics has the principal point ({cx:g}, {cy:g}), expected it inside the {width}x{height} image",
    )
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _count_frames(folder: Path, image_size: tuple[int, int]) -> int:
    """Count the frames, which must be numbered without a gap and have headers of this size."""
    frames = sorted((folder / "frames").glob("[!.]*.jpg"))
    require(
        len(frames) >= FEWEST_FRAMES,
        f"{folder / 'frames'}: holds {len(frames)} .jpg frames, expected at least {FEWEST_FRAMES}",
    )
    for number, path in enumerate(frames):
        expected = frame_path(folder, number)
        require(path == expected, f"{path}: found where {expected.name} was expected, number frames without a gap")
        open_image(path, image_size).close()
    return len(frames)


def _read_tracks(
    path: Path, content: Mapping[str, object], num_frames: int, num_keypoints: int, image_size: tuple[int, int]
) -> tuple[Track, ...]:
    # A plain value beside the objects is an unknown key such as a version.
    objects = {
        key: value for key, value in content.items() if key != "meta" and not isinstance(value, str | int | float)
    }
    require(bool(objects), f"{path}: holds 0 persons, expected at least one object id beside meta")
    require(len(objects) <= MOST_PERSONS, f"{path}: holds {len(objects)} persons, expected at most {MOST_PERSONS}")
    tracks = []
    for key, value in objects.items():
        where = f"{path}: object {key}"
        person = expect(value, dict, where, "class and frames")
        tracks.append(_read_track(key, person, num_frames, num_keypoints, image_size, where))
    farthest = max(float(track.boxes.max()) for track in tracks)
    in_percent = farthest <= 100 and min(image_size) >= 200
    require(not in_percent, f"{path}: boxes reach to {farthest:g}, which looks like percent, expected pixels")
    annotated = any((track.keypoints[..., 2] > 0).any() for track in tracks)
    require(annotated, f"{path}: keypoints have a score above 0 nowhere, expected some annotated keypoints")
    return tuple(tracks)


def _read_track(
    object_id: str,
    person: Mapping[str, object],
    num_frames: int,
    num_keypoints: int,
    image_size: tuple[int, int],
    where: str,
) -> Track:
    kind, frames = get(person, "class", str, where), get(person, "frames", dict, where)
    require(kind in PERSON_CLASSES, f"{where}: class is {short(kind)}, expected one of {', '.join(PERSON_CLASSES)}")
    require(bool(frames), f"{where}: frames is empty, expected at least one annotated frame")
    track = Track.absent(object_id, PERSON_CLASSES.index(kind), num_frames, num_keypoints)
    for key, value in frames.items():
        _read_frame_into(track, key, value, image_size, f"{where}, frame {key}")
    return track


def _read_frame_into(track: Track, key: str, value: object, image_size: tuple[int, int], where: str) -> None:
    """Read a person's annotation in frame `key` into the arrays of `track`."""
    num_frames, num_keypoints = track.keypoints.shape[:2]
    require(
        key.isdecimal() and len(key) < 10 and int(key) < num_frames,
        f"{where}: there is no such frame, expected a number from 0 to {num_frames - 1}",
    )
    number = int(key)
    require(not track.present[number], f"{where}: comes twice, expected each frame once")
    annotation = expect(value, dict, f"{where}:", "box, keypoints, …")
    track.present[number] = True
    track.boxes[number] = box = _read_box(annotation, image_size, where)
    track.keypoints[number] = _read_keypoints(annotation, num_keypoints, box, where)
    track.action[number] = _read_action(annotation, where)
    track.occluded[number] = get(annotation, "occluded", bool, where)


def _read_box(annotation: Mapping[str, object], image_size: tuple[int, int], where: str) -> Float64[np.ndarray, "4"]:
    box = numbers(annotation, "box", (4,), "[x0, y0, x1, y1]", where)
    numbers(annotation, "center", (2,), "[x, y]", where)
    require(
        bool((box[:2] < box[2:]).all()),
        f"{where}: box is {box.tolist()}, expected [x0, y0, x1, y1] with x0 < x1, y0 < y1",
    )
    shares = (box >= 0).all() and (box <= 1).all()
    require(not shares, f"{where}: box is {box.tolist()}, which looks like shares of the image, expected pixels")
    inside = (box[2:] > 0).all() and (box[:2] < image_size).all()
    size = f"{image_size[0]}x{image_size[1]}"
    require(bool(inside), f"{where}: box {box.tolist()} lies outside the image, expected it to overlap the {size}")
    return box


def _read_keypoints(
    annotation: Mapping[str, object], count: int, box: Float64[np.ndarray, "4"], where: str
) -> Float64[np.ndarray, "keypoint 3"]:
    """Read keypoints, with zeros where the score is 0; their middle must lie in the box or within its size of it."""
    found = len(get(annotation, "keypoints", list, where))
    require(found == count, f"{where}: keypoints has {found} entries, expected {count} as keypoint_names in meta has")
    keypoints = numbers(annotation, "keypoints", (count, 3), "[x, y, score] of each", where)
    score = keypoints[:, 2]
    wrong = score[(score < 0) | (score > 1)]
    require(not wrong.size, f"{where}: keypoints has the score {wrong[:1]}, expected 0 to 1")
    if (score > 0).any():
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
