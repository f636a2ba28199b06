"""The import itself: a recording and its annotations become sequences of a Teton tree."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from tqdm import tqdm

from motion.errors import InputError
from motion.errors.numbers import above, at_least, between, check_numbers
from motion.sequence import LABELS
from motion.skeleton import PERSON_CLASSES
from recon.teton.annotations import FPS_RANGE, Track, require_valid
from recon.teton.checked_json import require
from recon.teton.importing.assembly import Masks, choose_masks, make_tracks, scaled
from recon.teton.importing.detections import Annotations, Notes, Picture
from recon.teton.importing.folder import open_folder
from recon.teton.importing.following import follow
from recon.teton.importing.kinds import read_annotations
from recon.teton.importing.matching import match
from recon.teton.importing.placing import number, place, remove, require_free
from recon.teton.importing.recording import Frame, Recording
from recon.teton.importing.timing import Steps, choose_steps, cut, stretches
from recon.teton.importing.video import open_video
from recon.teton.tree import FEWEST_FRAMES, write_sequence

RANGES = {
    "fps": between(*FPS_RANGE),
    "recorded_fps": above(0),
    "start": at_least(0),
    "end": above(0),
    "seconds": above(0),
    "longest_side": at_least(64),
}
MOST_LISTED = 5  # stretches without persons that are named


@dataclass(frozen=True)
class ImportConfig:
    """Make sequences of a Teton tree from a video, or a folder of its frames, and annotations of the persons in it.

    For example: python -m recon.teton import --video walk.mp4 --annotations walk.json --output rooms

    The camera has to stand still. Annotations are COCO keypoints (also as CVAT and Label Studio export them), or what
    OpenPose or MMPose found. The command says at its end what it made, assumed and left out, and what to do next.
    """

    video: Path
    """Video file that FFmpeg reads, or folder of frames (.jpg, .png), which are sorted by name."""
    annotations: Path
    """COCO keypoints file, folder of OpenPose's --write_json, or file or folder of MMPose's predictions."""
    output: Path
    """Root of the Teton tree; sequences land in OUTPUT/DEPARTMENT/DEVICE/DATE/DATETIME."""
    name: str | None = None
    """DEPARTMENT/DEVICE, such as ward-3/camera-1; by default imported/ and the name of the video.

    DATE and DATETIME are those at which the video says that it was made, or else the time of the file (UTC).
    """
    fps: float | None = None
    """Frames per second of a sequence; by default the rate of the annotated frames, or a half, a third, … up to 10."""
    recorded_fps: float | None = None
    """Frames per second of the recording: needed for a folder; for a video in place of the times that it has."""
    start: float | None = None
    """Second of the recording from which on frames are taken."""
    end: float | None = None
    """Second of the recording up to which frames are taken."""
    seconds: float = 10.0
    """Longest sequence; a longer stretch with persons is cut into equal parts, DATETIME-000, DATETIME-001, …."""
    intrinsics: tuple[float, float, float, float] | None = None
    """Focal lengths and principal point fx fy cx cy in pixels of the upright video; by default unknown."""
    longest_side: int = 1920
    """Pixels of a frame's longer side; larger frames are made smaller, and with them annotations and intrinsics."""
    replace: bool = False
    """Replace the sequences that an earlier import of this video made; without it they are refused."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Sequence to write: a stretch of the steps through a recording."""

    folder: Path
    first: int
    """First step."""
    last: int
    """Step after the last."""
    tracks: tuple[Track, ...]
    """Persons by step from the first on."""


@dataclass(eq=False)
class Import:
    """Recording and annotations brought together, and what was assumed on the way."""

    recording: Recording
    annotations: Annotations
    steps: Steps
    size: tuple[int, int]
    """Width and height of the frames to write."""
    pictures: dict[int, Picture]
    """Annotated pictures by number of the frame, in pixels of the frames to write, persons followed."""
    intrinsics: Float64[np.ndarray, "3 3"] | None
    notes: Notes = field(default_factory=Notes)

    def stretch(self, first: int, last: int) -> list[Picture | None]:
        """List the annotated pictures of a stretch of steps; None where there is none."""
        return [self.pictures.get(frame) for frame in self.steps.numbers[first:last].tolist()]

    def room(self, frame: int) -> Picture | None:
        """Find the picture nearest to a frame in which the room is outlined; None where it is in none."""
        pictures = [(abs(number - frame), number) for number, picture in self.pictures.items() if picture.room]
        return self.pictures[min(pictures)[1]] if pictures else None


def import_video(config: ImportConfig) -> None:
    """Import a video as its configuration says and print what was made.

    Raises InputError for what cannot be read or does not fit, and for sequences that are there already.
    """
    _check(config)
    annotations = read_annotations(config.annotations)
    recording = _open(config)
    folder = place(config.output, config.name, recording)
    require_free(folder, config.replace)
    work = _bring_together(config, recording, annotations)
    plans = _plan(work, folder, config.seconds)
    for plan in plans:
        _require_valid(work, plan)
    if config.replace:
        remove(folder)
    made = _write(work, plans)
    print("\n".join(_report(config, work, made)))


def _check(config: ImportConfig) -> None:
    check_numbers(config, RANGES)
    if config.start is not None and config.end is not None and config.start >= config.end:
        raise InputError(f"--start is {config.start:g} and --end {config.end:g}, expected the start before the end")


def _open(config: ImportConfig) -> Recording:
    if not config.video.is_dir():
        return open_video(config.video, config.recorded_fps, config.end)
    if config.recorded_fps is None:
        raise InputError(f"{config.video}: is a folder of frames without times, expected their rate by --recorded-fps")
    return open_folder(config.video, config.recorded_fps)


def _bring_together(config: ImportConfig, recording: Recording, annotations: Annotations) -> Import:
    """Find the frames to take, and the persons in each."""
    notes = Notes()
    for sentence in (*recording.notes, *annotations.notes):
        notes.add(sentence)
    matched = match(annotations, recording, notes)
    kept = cut(recording.times, config.start, config.end)
    found = [frame for frame in kept.tolist() if frame in matched]
    require(
        bool(found),
        f"{config.annotations}: none of its {len(annotations.pictures)} pictures is a frame that is taken "
        f"({kept[0]} to {kept[-1]}), expected annotations of these frames",
    )
    steps = choose_steps(recording.times, kept, np.isin(np.arange(len(recording.times)), found), config.fps)
    size = _fit(recording.shown_size, config.longest_side)
    pictures = [scaled(matched[frame], recording.size, size) for frame in found]
    persons = follow([picture.persons for picture in pictures], recording.times[found], notes)
    followed = {f: replace(p, persons=some) for f, p, some in zip(found, pictures, persons, strict=True)}
    for sentence in steps.notes:
        notes.add(sentence)
    return Import(recording, annotations, steps, size, followed, _intrinsics(config, recording, size), notes)


def _fit(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Shrink a size so that no side is longer than `longest`."""
    factor = min(1.0, longest / max(size))
    return round(size[0] * factor), round(size[1] * factor)


def _intrinsics(config: ImportConfig, recording: Recording, size: tuple[int, int]) -> Float64[np.ndarray, "3 3"] | None:
    """Scale the intrinsics from the video to the frames to write; None where they are unknown."""
    if config.intrinsics is None:
        return None
    fx, fy, cx, cy = np.array(config.intrinsics) * np.tile(np.array(size) / recording.shown_size, 2)
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _plan(work: Import, folder: Path, seconds: float) -> list[Plan]:
    """Cut the steps into sequences; raises InputError where no person is there for long enough."""
    steps = work.stretch(0, len(work.steps.numbers))
    there = np.array([bool(picture and picture.persons) for picture in steps])
    parts = stretches(there, work.steps.fps, seconds)
    made = [(first, last, _tracks(work, first, last)) for first, last in parts]
    whole = [part for part in made if part[2]]
    work.notes.add(f"a stretch with nobody in {FEWEST_FRAMES} frames is left out", len(made) - len(whole))
    path = work.recording.path
    require(bool(whole), f"{path}: nobody is there in {FEWEST_FRAMES} frames of a sequence, expected persons")
    _note_empty(work, [(first, last) for first, last, _ in whole])
    folders = number(folder, len(whole))
    return [Plan(each, *part) for each, part in zip(folders, whole, strict=True)]


def _tracks(work: Import, first: int, last: int) -> tuple[Track, ...]:
    return make_tracks(work.stretch(first, last), len(work.annotations.keypoint_names), work.notes)


def _note_empty(work: Import, parts: Sequence[tuple[int, int]]) -> None:
    """Note the times that no sequence covers."""
    edges = [0, *(edge for part in parts for edge in part), len(work.steps.numbers)]
    empty = [(first, last) for first, last in zip(edges[::2], edges[1::2], strict=True) if last > first]
    times = [f"{work.steps.time(first):.1f} to {work.steps.time(last):.1f} s" for first, last in empty]
    more = f" and {len(times) - MOST_LISTED} more" if len(times) > MOST_LISTED else ""
    work.notes.add(f"without persons and left out: {', '.join(times[:MOST_LISTED])}{more}", min(1, len(times)))


def _require_valid(work: Import, plan: Plan) -> None:
    """Raise InputError where the sequence would have faults, before anything is written."""
    require_valid(
        plan.folder,
        plan.tracks,
        image_size=work.size,
        fps=work.steps.fps,
        intrinsics=work.intrinsics,
        keypoint_names=work.annotations.keypoint_names,
        num_frames=plan.last - plan.first,
    )


def _write(work: Import, plans: Sequence[Plan]) -> list[str]:
    """Write all sequences in one pass through the recording; returns lines about each."""
    numbers = [frame for plan in plans for frame in work.steps.numbers[plan.first : plan.last].tolist()]
    frames = iter(tqdm(work.recording.read(numbers, work.size), "write", len(numbers), unit="frame", disable=None))
    return [line for plan in plans for line in _write_one(work, plan, frames)]


def _write_one(work: Import, plan: Plan, frames: Iterator[Frame]) -> list[str]:
    """Write a sequence, whose frames are the next ones, and describe it."""
    taken = work.steps.numbers[plan.first : plan.last]
    room = work.room(int(taken.mean()))
    pictures = work.stretch(plan.first, plan.last)
    masks = choose_masks(pictures, plan.tracks, room, work.recording.thumbnails[taken], work.size)
    write_sequence(
        plan.folder,
        frames=islice(frames, len(taken)),
        tracks=plan.tracks,
        image_size=work.size,
        fps=work.steps.fps,
        intrinsics=work.intrinsics,
        keypoint_names=work.annotations.keypoint_names,
        keyframes=masks.keyframes,
        masks=masks.images,
    )
    _note_masks(masks, room, work.notes)
    return _describe(work, plan, masks)


def _note_masks(masks: Masks, room: Picture | None, notes: Notes) -> None:
    if room is not None and not masks.images:
        notes.add("the room is outlined and no person is: masks are left out")
    floor = LABELS.index("floor")
    if masks.images and not (room and any(part.label == floor for part in room.room)):
        notes.add("masks mark no floor, as none is outlined in the annotations")


def _describe(work: Import, plan: Plan, masks: Masks) -> list[str]:
    """Say of what a sequence is, in a line for it and one for each person."""
    steps, words = work.steps, "with masks" if masks.images else "no masks"
    made = f"{plan.last - plan.first} frames of {_words(work.size)} at {steps.fps:.6g} fps"
    begin, keyframes = f"from {steps.time(plan.first):.1f} s on", f"{len(masks.keyframes)} key frames"
    persons = [
        f"  person {track.object_id} ({PERSON_CLASSES[track.person_class]}) in {track.present.mean():.0%} of the frames"
        for track in plan.tracks
    ]
    return [f"{plan.folder}: {made} {begin}, {keyframes}, {words}", *persons]


def _report(config: ImportConfig, work: Import, made: Sequence[str]) -> list[str]:
    """Put what was made, assumed and left out into lines, and the commands that come next."""
    recording, root = work.recording, shlex.quote(str(config.output))
    if work.intrinsics is None:
        work.notes.add("the focal length is unknown: the reconstruction will estimate it (--intrinsics says it)")
    return [
        f"{recording.path}: {len(recording.times)} frames of {_words(recording.size)}, {work.annotations.kind}",
        *made,
        *(f"note: {sentence}" for sentence in work.notes.sentences()),
        f"next: python -m recon.teton check {root}",
        f"      python -m ray_jobs.reconstruct --rooms {root} --output data/own-motions",
    ]


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
