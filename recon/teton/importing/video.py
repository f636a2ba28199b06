"""Frames of a video file, decoded by FFmpeg through PyAV: upright as the display matrix says, at the times of the file.

Frames are numbered from 0 in the order in which they are shown, as annotation tools number them.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64, UInt8
from tqdm import tqdm

from motion.errors import InputError
from recon.teton.checked_json import require
from recon.teton.importing.recording import Recording
from recon.teton.keyframes import THUMBNAIL

FIRST_YEAR = 1995  # cameras without a clock say 1904 or 1970
STRAIGHT = 0.02  # by which an entry of a quarter turn's matrix may differ from 0 or 1
SQUARE = 0.01  # by which the sides of a pixel may differ
OPTIONS = {"protocol_whitelist": "file"}  # a playlist must not lead to the network
Turn = Int64[np.ndarray, "2 2"]
"""Linear part of a display matrix: a point x, y of the decoded frame goes to `(x, y) @ turn`, apart from a shift."""


@dataclass(eq=False)
class Seen:
    """Facts about the frames of a file that were decoded so far."""

    size: tuple[int, int]
    """Width and height as decoded."""
    turn: Turn
    """Turn that makes them upright."""
    times: list[float | None] = field(default_factory=list)
    """Time of each frame in seconds; None where the file has none."""
    thumbnails: list[UInt8[np.ndarray, "24 32 3"]] = field(default_factory=list)
    """Small copy of each frame, not turned."""
    damaged: int = 0
    """Number of frames of which FFmpeg says that they are damaged."""

    def add(self, frame: VideoFrame, time: float | None) -> None:
        """Take in one more frame."""
        self.times.append(time)
        small = frame.reformat(*THUMBNAIL, format="rgb24", interpolation="AREA")
        self.thumbnails.append(small.to_ndarray())
        self.damaged += frame.is_corrupt


def open_video(path: Path, fps: float | None = None, end: float | None = None) -> Recording:
    """Look over a video: times and small copies of its frames up to `end` seconds, without keeping the pixels.

    `fps` takes the place of the file's times, which raw and damaged files do not have. Raises InputError for a file
    that FFmpeg cannot read, or whose frames have no times, go back in time or change their size.
    """
    with _opened(path) as (container, stream):
        seen = _look_over(container, stream, path, fps, end)
        aspect = float(stream.sample_aspect_ratio or 1)
        recorded = _creation_time({**stream.metadata, **container.metadata}, path)
    across = bool(seen.turn[0, 0] == 0)
    size = seen.size[::-1] if across else seen.size
    return Recording(
        path,
        size,
        shown_size=_shown(size, aspect, across),
        times=_times(seen.times, fps, path),
        thumbnails=np.stack(seen.thumbnails),
        recorded=recorded,
        decode=lambda numbers: _decode(path, numbers, seen.turn),
        length=len(seen.times) if end is None else max(len(seen.times), _count_frames(path)),
        notes=_notes(seen, aspect),
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file; FFmpeg's errors in it become InputErrors."""
    require(path.is_file(), f"{path}: is missing, expected a video file or a folder of frames")
    try:
        with av.open(f"file:{path.absolute()}", options=OPTIONS) as container:
            if not container.streams.video:
                raise InputError(f"{path}: has no pictures, expected a video file")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: is no video that can be read ({error.strerror}), expected one, such as .mp4"
        ) from error


def _look_over(
    container: InputContainer, stream: VideoStream, path: Path, fps: float | None, end: float | None
) -> Seen:
    """Decode the frames up to `end` seconds."""
    seen = None
    for number, frame in enumerate(_frames(container, stream, path)):
        seen = seen or Seen((frame.width, frame.height), _turn(frame, path))
        require(
            (frame.width, frame.height) == seen.size,
            f"{path}: frame {number} is {frame.width}x{frame.height} and those before {seen.size[0]}x{seen.size[1]}, "
            "expected one size: cut it by --start or --end",
        )
        time = frame.time if fps is None else number / fps
        seen.add(frame, time)
        if end is not None and time is not None and time - (seen.times[0] or 0) > end:
            break
    if seen is None:
        raise InputError(f"{path}: holds no frame, expected a video")
    return seen


def _frames(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]:
    """Decode the frames in the order in which they are shown; an error names the frame."""
    count = 0
    try:
        for frame in tqdm(container.decode(stream), path.name, stream.frames or None, unit="frame", disable=None):
            yield frame
            count += 1
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: cannot be decoded after {count} frames ({error.strerror}), expected a whole video: "
            "cut it by --end, or copy it anew"
        ) from error


def _decode(path: Path, numbers: Sequence[int], turn: Turn) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decode the frames of these numbers, which rise, as RGB and upright."""
    wanted = iter(numbers)
    next_one = next(wanted, None)
    with _opened(path) as (container, stream):
        for number, frame in enumerate(container.decode(stream)):
            if next_one is None:
                return
            if number == next_one:
                yield turned(frame.to_ndarray(format="rgb24"), turn)
                next_one = next(wanted, None)


def turned(frame: UInt8[np.ndarray, "height width 3"], turn: Turn) -> UInt8[np.ndarray, "rows columns 3"]:
    """Turn a frame upright by quarter turns and reflections."""
    if turn[0, 0] == 0:
        frame, (right, down) = frame.swapaxes(0, 1), (turn[1, 0], turn[0, 1])
    else:
        right, down = turn[0, 0], turn[1, 1]
    return np.ascontiguousarray(frame[:: int(down), :: int(right)])


def _turn(frame: VideoFrame, path: Path) -> Turn:
    """Read the turn of the display matrix; raises InputError where it is no quarter turn."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # the stub knows no type
    if data is None:
        return np.eye(2, dtype=np.int64)
    matrix = np.frombuffer(bytes(data), dtype=np.int32)[[0, 1, 3, 4]].reshape(2, 2) / 2.0**16
    matrix = matrix / max(np.abs(matrix).max(), 1e-9)
    turn = matrix.round().astype(np.int64)
    straight = bool(np.abs(matrix - turn).max() <= STRAIGHT and (np.abs(turn).sum(axis=0) == 1).all())
    angle = np.degrees(np.arctan2(-matrix[0, 1], matrix[0, 0]))
    require(straight, f"{path}: is turned by {angle:.0f} degrees when shown, expected quarter turns")
    return turn


def _shown(size: tuple[int, int], aspect: float, across: bool) -> tuple[int, int]:
    """Compute the size at which pixels are square; `aspect` is a decoded pixel's width over its height."""
    if abs(aspect - 1) <= SQUARE:
        return size
    width, height = size
    return (width, round(height * aspect)) if across else (round(width * aspect), height)


def _notes(seen: Seen, aspect: float) -> tuple[str, ...]:
    notes = []
    if (seen.turn != np.eye(2)).any():
        notes.append("frames are turned upright as the file says")
    if abs(aspect - 1) > SQUARE:
        notes.append(
            f"pixels are not square ({aspect:.3g} times as wide as high): frames are stretched as players show them"
        )
    if seen.damaged:
        notes.append(f"{seen.damaged} frames are damaged in the file")
    return tuple(notes)


def _times(times: Sequence[float | None], fps: float | None, path: Path) -> Float64[np.ndarray, " frame"]:
    """Return the times from the first frame on; raises InputError where one is missing or they do not rise."""
    if fps is not None:
        return np.arange(len(times)) / fps
    if None in times:
        raise InputError(f"{path}: frame {times.index(None)} has no time, expected one: say the rate by --recorded-fps")
    known = np.array(times, dtype=np.float64)
    known -= known[0]
    _refuse_falling(known, path)
    return known


def _refuse_falling(known: Float64[np.ndarray, " frame"], path: Path) -> None:
    for number in np.flatnonzero(np.diff(known) < 0)[:1]:
        raise InputError(
            f"{path}: time goes back from {known[number]:.2f} to {known[number + 1]:.2f} s after frame {number}, "
            "expected it to rise: cut the video there by --end, or say its rate by --recorded-fps"
        )


def _creation_time(metadata: dict[str, str], path: Path) -> datetime:
    """Return the time of the recording that the file says, or else the file's own."""
    try:
        created = datetime.fromisoformat(metadata.get("creation_time", "")).astimezone(UTC)
    except ValueError:
        created = datetime.min.replace(tzinfo=UTC)
    return created if created.year >= FIRST_YEAR else datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _count_frames(path: Path) -> int:
    """Count the frames of a file without decoding them."""
    with _opened(path) as (container, stream):
        return sum(packet.size > 0 for packet in container.demux(stream))
