"""Clips before they are read, their captions, and the records they become: common to all readers of `motion.datasets`.

A reader is a module, or an object of the user's own (`package.module:object`), with two functions and a text:

    list_clips(root) -> list[Clip]            cheap: looks at names, lists and captions, not at motion
    read_clip(clip, body) -> MotionSequence   the clip at its own frame rate, Z up, metres, floor on z = 0
    LICENCE: str                              the terms of the data, for the data set's card

`list_clips` raises InputError only where `root` is no such data set at all; a fault of one clip is noted in
`Clip.problem` and raised by `read_clip`, so that a job can reject that clip and go on.
"""

import json
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from motion.body import Body
from motion.clips.sanity import refuse_impossible
from motion.errors import InputError
from motion.errors.text_files import read_text
from motion.sequence import SPLITS, MotionSequence
from motion.smpl_parameters import SmplParameters

logger = logging.getLogger(__name__)

CAPTION_LINE = "a caption a line, alone or as caption#tokens#from#to"

FPS_RANGE = (5.0, 1000.0)
MAX_MAGNITUDE = 1e4  # metres or radians; beyond it a number is damage


@dataclass(frozen=True)
class Clip:
    """Location of a clip, and its known properties before it is read. Plain values only: it travels as JSON."""

    id: str
    """Unique name that the record will have, such as `amass/CMU/01/01_01_poses`."""
    source: str
    """Reader of the clip, one of `motion.sequence.SOURCES`, or `package.module:object`."""
    files: tuple[str, ...]
    """File of the motion, or one per person."""
    split: str = "train"
    """Part of the data: train, val or test."""
    texts: tuple[str, ...] = ()
    """Captions of the clip."""
    start: float = 0.0
    """Start of the clip in seconds into the file(s)."""
    stop: float | None = None
    """End of the clip in seconds into the file(s); None for all of the file."""
    mirrored: bool = False
    """Whether the clip is the mirror image of its file."""
    problem: str | None = None
    """Reason why it cannot be read, if listing found one."""

    def to_json(self) -> str:
        """Serialize the clip."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Clip":
        """Read a serialized clip."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {name: tuple(values[name]) for name in ("files", "texts")})


@dataclass(frozen=True)
class Caption:
    """Description of a clip, or of the seconds `start` to `stop` of it."""

    text: str
    """Description in a sentence."""
    start: float = 0.0
    """Start of the described span in seconds."""
    stop: float | None = None
    """End of the described span in seconds; None for the whole clip."""


def find_files(root: Path, *endings: str) -> list[Path]:
    """List the files under `root` with one of these endings (lower case, `.bvh`), in any case, sorted.

    Linked folders are followed, each folder once. What macOS leaves beside files (`._NAME`) is passed over.
    """
    found, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(folder, name) for name in names if name.lower().endswith(endings) and name[:2] != "._"]
    return sorted(found)


def read_captions(path: Path) -> list[Caption]:
    """Read captions in HumanML3D's form, one a line: `text#word/TAG word/TAG#from#to`, or the text alone.

    From and to are seconds; 0 and 0 (or nothing, or HumanML3D's nan) mean the whole clip. The last three # separate, so
    that a caption may have its own. A damaged line is left out and logged. Raises InputError where the file cannot be
    read or no line is left.
    """
    lines = read_text(path, f"expected {CAPTION_LINE}").splitlines()
    captions, damaged = [], []
    for number, line in enumerate(lines, 1):
        try:
            captions += [_caption(f"{path}: line {number}", line.strip())] if line.strip() else []
        except InputError as error:
            damaged.append(str(error))
    if not captions:
        raise InputError(damaged[0] if damaged else f"{path}: holds no caption, expected {CAPTION_LINE}")
    for reason in damaged:
        logger.warning("left out: %s", reason)
    return captions


def _caption(where: str, line: str) -> Caption:
    text, *rest = line.rsplit("#", 3)
    if len(rest) < 3:
        if rest:
            logger.warning("%s has %d # where caption#tokens#from#to has 3: all of it is the caption", where, len(rest))
        text, rest = line, []
    if not text.strip():
        raise InputError(f"{where} has an empty caption, expected caption#tokens#from#to")
    if not rest:
        return Caption(text.strip())
    try:
        start, stop = (0.0 if math.isnan(float(value)) else float(value) for value in rest[-2:])
    except ValueError as error:
        raise InputError(f"{where} has the span {rest[-2:]}, expected two numbers of seconds") from error
    if (start, stop) == (0.0, 0.0):
        return Caption(text.strip())
    if not 0 <= start < stop < math.inf:
        raise InputError(f"{where} spans {start:g} s to {stop:g} s, expected 0 <= from < to")
    return Caption(text.strip(), start, stop)


def with_captions(clip: Clip, captions: Sequence[Caption]) -> list[Clip]:
    """Split a clip by its captions: the whole clip with its captions, and a clip `ID@FROM-TO` for each described span.

    Where only spans are described, only they become clips. Seconds count from the clip's own start.
    """
    clips: dict[str, Clip] = {}
    for caption in captions:
        name = clip.id if caption.stop is None else f"{clip.id}@{caption.start:g}-{caption.stop:g}"
        stop = clip.stop if caption.stop is None else clip.start + caption.stop
        found = clips.setdefault(name, replace(clip, id=name, start=clip.start + caption.start, stop=stop, texts=()))
        clips[name] = replace(found, texts=(*found.texts, caption.text))
    return list(clips.values())


def with_sidecar(clip: Clip, path: Path) -> list[Clip]:
    """Apply `with_captions` of the file that may lie next to a motion; a bad one is noted in `Clip.problem`."""
    if not path.is_file():
        return [clip]
    try:
        return with_captions(clip, read_captions(path))
    except InputError as error:
        return [replace(clip, problem=str(error))]


def frame_range(clip: Clip, fps: float, num_frames: int) -> slice:
    """Compute the frames from `Clip.start` to `Clip.stop`; InputError unless the motion has them, to half a frame."""
    stop = num_frames if clip.stop is None else round(clip.stop * fps)
    start = round(clip.start * fps)
    if not start < stop <= num_frames:
        span = f"{clip.start:g} s to {stop / fps if clip.stop is None else clip.stop:g} s"
        raise InputError(f"{clip.files[0]}: is {num_frames / fps:g} s long, expected to hold {span} of clip {clip.id}")
    return slice(start, stop)


def read_splits(folder: Path) -> dict[str, str]:
    """Read the split of each id from train.txt, val.txt and test.txt; the later of these wins.

    Raises InputError if the folder has none of them.
    """
    paths = {split: folder / f"{split}.txt" for split in SPLITS}
    if not any(path.is_file() for path in paths.values()):
        raise InputError(f"{folder} lacks train.txt, val.txt and test.txt, expected lists of clip ids")
    lists = {split: read_text(path, "expected clip ids") for split, path in paths.items() if path.is_file()}
    return {name: split for split, text in lists.items() for name in text.split()}


def read_array(path: Path) -> Float32[np.ndarray, "frame *row"]:
    """Read a .npy of finite floats, at least one row; pickled objects, which may run code, are never opened.

    Raises InputError where the file holds anything else.
    """
    check_start(path, b"\x93NUMPY", "a .npy of numbers")
    try:
        # Mapped, so that a damaged header which claims terabytes takes no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header shows as nearly any of them
        raise InputError(f"{path}: cannot be read ({error}), expected a .npy of numbers") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim < 2 or not len(array):
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{path}: holds {found}, expected floats with one row a frame")
    if not (np.abs(array) < MAX_MAGNITUDE).all():
        raise InputError(f"{path}: holds NaN or numbers beyond {MAX_MAGNITUDE:g}, expected metres")
    return np.array(array, dtype=np.float32)


def check_start(path: Path, start: bytes, what: str) -> None:
    """Raise InputError for a file that does not begin so, such as a pointer to a large file, and so is not `what`."""
    try:
        with path.open("rb") as file:
            found = file.read(20)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {what}") from error
    if found.startswith(b"version https://"):
        raise InputError(f"{path}: is Git LFS's pointer to a file, expected {what}; fetch it with git lfs pull")
    if not found.startswith(start):
        raise InputError(f"{path}: begins with {found!r}, expected {what}")


def check_fps(where: str, fps: float) -> float:
    """Return the rate if it can be one of motion capture; raises InputError for nan, 0 or 100000."""
    low, high = FPS_RANGE
    if not low <= fps <= high:
        raise InputError(f"{where}: has {fps:g} frames per second, expected {low:g} to {high:g}")
    return float(fps)


def to_record(
    clip: Clip,
    fps: float,
    parameters: SmplParameters,
    body: Body,
    provenance: dict[str, str] | None = None,
) -> MotionSequence:
    """Make the record of persons who are valid throughout and whose actions are unknown.

    `parameters` lie in the world: Z up, metres, floor at z = 0. `provenance` adds to the files' names, None nothing.
    Raises InputError where a person moves as nobody can (`motion.clips.sanity`).
    """
    people, frames = parameters.transl.shape[:2]
    files = ", ".join(Path(file).name for file in clip.files)
    record = MotionSequence(
        id=clip.id,
        source=clip.source,
        split=clip.split,
        fps=fps,
        **parameters.posed_arrays(body),
        valid=np.ones((people, frames), dtype=np.bool_),
        person_class=np.ones(people, dtype=np.int8),
        action=np.zeros((people, frames), dtype=np.int8),
        texts=list(clip.texts),
        provenance={"file": files} | (provenance or {}),
    )
    refuse_impossible(record)
    return record
