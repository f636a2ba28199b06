"""The Teton tree: annotated room videos on disk, one folder a sequence.

    ROOT/DEPARTMENT/DEVICE/DATE/DATETIME/     one fixed camera for a few seconds, say 100 frames at 10 fps
        frames/000000.jpg 000001.jpg …        JPEG, numbered from 0 without a gap, at least 3, all of one size
        annotations.json                      who is where and does what, below
        keyframes.json                        optional: frame numbers such as [0, 17, 61]
        masks/000017.png                      8-bit label image (grey or palette) of each key frame, same size; or none
        depth/000017.png                      optional: measured depth of each key frame, 16-bit millimetres, same size

An image's EXIF orientation counts: size, boxes, keypoints and masks are those of the image as it is shown.

A mask's pixel holds the index of its class in `motion.sequence.LABELS`: 0 none, 1 floor, 2 wall, 3 bed, 4 sofa,
5 chair, 6 wardrobe, 7 table, 8 door, 9 window; or 128 + k for person k, k being the place (from 0) of the person's
object in annotations.json. The floor and the persons should be marked, the rest makes the scene's labels. Where no mask
shows the floor it is looked for in the depth; where there are no masks, persons are known by boxes and keypoints alone,
which is less exact. Where keyframes.json is missing, key frames are chosen by image similarity and time, among the
frames that have a mask, else those that have depth.

Measured depth, of a camera that has it, is along the optical axis, at the frame's own pixels, 0 where unknown. It takes
the place of the depth networks.

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
was expected; `python -m recon.teton check ROOT` lists all that is wrong in all sequences. Pixels count from the upper
left corner, x to the right and y down.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from motion.errors import InputError
from motion.errors.text_files import require_utf8
from motion.sequence import LABELS
from recon.teton.annotations import PERSON_LABEL, Known, Track, read_meta, read_tracks, to_content
from recon.teton.checked_json import expect, read_json, write_json
from recon.teton.faults import Faults
from recon.teton.images import (
    depth_path,
    frame_path,
    mask_path,
    open_depth,
    open_image,
    open_mask,
    read_depth,
    read_frame,
    read_labels,
    write_depth,
)
from recon.teton.keyframes import read_keyframes
from recon.teton.marks import draw_people

FEWEST_FRAMES = 3  # an acceleration needs three
LONGEST_NAME = 230  # bytes of a sequence's files without their endings, of 255 that file systems take
LEAST_INSIDE = 0.5  # of a person's pixels in the person's box: less, and they are another's


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
    """Frame numbers that have a mask, or would have one, sorted."""
    masked: bool = True
    """True where the key frames have masks; `mask` draws boxes and keypoints otherwise."""
    measured: bool = False
    """True where the key frames have measured depth."""

    def frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Read one frame as RGB; raises InputError for a damaged image."""
        return read_frame(frame_path(self.folder, number), self.image_size)

    def mask(self, keyframe: int) -> UInt8[np.ndarray, "height width"]:
        """Read the label image of a key frame; raises InputError for a label that is not known or another person's.

        Without masks it holds the persons as `draw_people` does, and nothing of the room.
        """
        if not self.masked:
            return draw_people(self.tracks, keyframe, self.image_size)
        path = mask_path(self.folder, keyframe)
        known = dict(enumerate(LABELS)) | {PERSON_LABEL + k: f"person {k}" for k in range(len(self.tracks))}
        mask = read_labels(path, self.image_size, known)
        for label, track in enumerate(self.tracks, start=PERSON_LABEL):
            inside = _share_inside(mask == label, track.boxes[keyframe])
            if track.present[keyframe] and inside < LEAST_INSIDE:
                raise InputError(
                    f"{path}: {inside:.0%} of label {label} lies in the box of object {track.object_id}, expected "
                    f"most: persons are labelled {PERSON_LABEL}, {PERSON_LABEL + 1}, … in the order of annotations.json"
                )
        return mask

    def depth(self, keyframe: int) -> Float32[np.ndarray, "height width"]:
        """Read a key frame's measured depth in metres, NaN where unknown; raises InputError for a damaged image."""
        return read_depth(depth_path(self.folder, keyframe), self.image_size)


def _share_inside(pixels: Bool[np.ndarray, "height width"], box: Float32[np.ndarray, " 4"]) -> float:
    """Compute the share of pixels that lie in a box (1 where there are none)."""
    rows, columns = np.nonzero(pixels)
    x0, y0, x1, y1 = box
    inside = (x0 - 1 <= columns) & (columns <= x1) & (y0 - 1 <= rows) & (rows <= y1)
    return float(inside.mean()) if len(rows) else 1.0


def list_sequences(root: Path) -> list[Path]:
    """List the folders ROOT/DEPARTMENT/DEVICE/DATE/DATETIME that hold a sequence or parts of one, sorted.

    Raises InputError where there is no folder ROOT, and for one whose name is not UTF-8.
    """
    if not root.is_dir():
        raise InputError(f"there is no folder {root}, expected the root of a Teton tree")
    folders = sorted(
        folder
        for folder in root.glob("*/*/*/*")
        if (folder / "annotations.json").is_file() or (folder / "frames").is_dir()
    )
    for folder in folders:
        require_utf8(str(folder))
    return folders


def sequence_id(folder: Path) -> str:
    """Derive a sequence's id DEPARTMENT/DEVICE/DATE/DATETIME from its folder."""
    return "/".join(folder.absolute().parts[-4:])


def file_name(sequence: str) -> str:
    """Name the files of a sequence by its id, without their ending."""
    return sequence.replace("/", "_")


def require_file_names(folders: Sequence[Path]) -> None:
    """Raise InputError where two sequences' files would have one name, and where a file system takes none so long."""
    owners: dict[str, Path] = {}
    for folder in folders:
        length = len(file_name(sequence_id(folder)).encode())
        if length > LONGEST_NAME:
            raise InputError(f"{folder}: its last four names have {length} bytes, expected {LONGEST_NAME} or fewer")
        other = owners.setdefault(file_name(sequence_id(folder)), folder)
        if other != folder:
            raise InputError(f"files of {folder} and {other} would have one name, expected folders whose names differ")


def read_sequence(folder: Path) -> TetonSequence:
    """Read a sequence, checked in all but its pixels; raises InputError that names the files and what is wrong in each.

    Only the headers of frames and masks are read, unless keyframes.json is missing.
    """
    faults = Faults(folder)
    sequence = examine(folder, faults)
    if sequence is None:
        raise faults.error()
    return sequence


def examine(folder: Path, faults: Faults) -> TetonSequence | None:
    """Read a sequence as `read_sequence` does, and note all that is wrong with it; None where anything is."""
    path = folder / "annotations.json"
    content = faults.attempt(_read_content, path)
    if content is None:
        _count_frames(folder, None, faults)
        return None
    meta, names = (read := read_meta(content, path, faults)), read.keypoint_names
    num_frames = _count_frames(folder, meta.image_size, faults)
    known = Known(meta.image_size, None if names is None else len(names), num_frames)
    tracks = read_tracks(content, path, known, faults)
    keyframes = _read_keyframes(folder, num_frames, meta.image_size, faults)
    if faults or meta.image_size is None or meta.fps is None or names is None or num_frames is None:
        return None
    return TetonSequence(
        folder,
        sequence_id(folder),
        meta.image_size,
        meta.fps,
        meta.intrinsics,
        names,
        num_frames,
        tracks,
        keyframes,
        masked=holds_images(folder, "masks"),
        measured=holds_images(folder, "depth"),
    )


def holds_images(folder: Path, kind: str) -> bool:
    """Tell whether a sequence has masks or depth: any file, as one with a wrong name must not pass for none."""
    return any((folder / kind).glob("[!.]*"))


def _read_content(path: Path) -> dict[str, object]:
    return expect(read_json(path), dict, f"{path}:", "an object of meta and object ids")


def _count_frames(folder: Path, image_size: tuple[int, int] | None, faults: Faults) -> int | None:
    """Count the frames and note what is wrong with their numbers and headers; None where they cannot be counted."""
    frames = sorted((folder / "frames").glob("[!.]*.jpg"))
    if len(frames) < FEWEST_FRAMES:
        faults.note(f"{folder / 'frames'}: holds {len(frames)} .jpg frames, expected at least {FEWEST_FRAMES}")
    strange = [(path, frame_path(folder, n)) for n, path in enumerate(frames) if path != frame_path(folder, n)]
    for path, expected in strange[:1]:  # all that follow are shifted
        faults.note(f"{path}: found where {expected.name} was expected, number frames without a gap")
    if image_size is not None:
        for path in frames:
            faults.attempt(_check_header, path, image_size, open_image)
    return None if strange or len(frames) < FEWEST_FRAMES else len(frames)


def _check_header(path: Path, image_size: tuple[int, int], opened: Callable[..., Image.Image]) -> None:
    opened(path, image_size).close()


def _read_keyframes(
    folder: Path, num_frames: int | None, image_size: tuple[int, int] | None, faults: Faults
) -> tuple[int, ...]:
    """Read the numbers of the key frames and note what is wrong with them and with the headers of their images."""
    if num_frames is None or image_size is None:
        return ()
    keyframes = faults.attempt(read_keyframes, folder, num_frames, image_size) or ()
    for kind, path_of, opened in (("masks", mask_path, open_mask), ("depth", depth_path, open_depth)):
        if not holds_images(folder, kind):
            continue
        missing = [number for number in keyframes if not path_of(folder, number).exists()]
        if missing:
            without = f"{', '.join(map(str, missing))} {'has' if len(missing) == 1 else 'have'} none"
            faults.note(f"{path_of(folder, missing[0])}: is missing, expected {kind} of all key frames ({without})")
        for number in sorted(set(keyframes) - set(missing)):
            faults.attempt(_check_header, path_of(folder, number), image_size, opened)
    return keyframes


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
    depth: Mapping[int, Float32[np.ndarray, "height width"]] | None = None,
    quality: int = 90,
) -> None:
    """Write one sequence in place of any that was there; annotations.json comes last: with it the sequence is whole.

    `masks` and `depth` (metres along the optical axis, NaN unknown) are of all key frames, or of none. `quality` is
    JPEG's. `read_sequence` returns the same tracks, provided they are valid for it.
    """
    _make_empty(folder)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(frame_path(folder, number), quality=quality)
    for number, mask in masks.items():
        Image.fromarray(mask).save(mask_path(folder, number))
    for number, metres in (depth or {}).items():
        (folder / "depth").mkdir(exist_ok=True)
        write_depth(metres, depth_path(folder, number))
    write_json(folder / "keyframes.json", list(keyframes))
    write_json(folder / "annotations.json", to_content(tracks, image_size, fps, intrinsics, keypoint_names))


def _make_empty(folder: Path) -> None:
    """Make the folders of a sequence and remove the sequence that was there, its annotations.json first."""
    (folder / "annotations.json").unlink(missing_ok=True)
    for name, kind in (("frames", "*.jpg"), ("masks", "*.png"), ("depth", "*.png")):
        if name != "depth":
            (folder / name).mkdir(parents=True, exist_ok=True)
        for stale in (folder / name).glob(kind):
            stale.unlink()
