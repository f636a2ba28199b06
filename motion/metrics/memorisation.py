"""Memorisation: the distance of a generated motion from the nearest training clip.

World: Z up, metres. The distance of two windows, each of one person and of equal length, is the RMS distance of their
joints after one of them is shifted over the floor and turned about Z as a whole so that they fit best; heights stay.
With the horizontal coordinates of the K = frames x 24 points as complex numbers x, y about their window's mean, and
their heights as z, w,

    K d^2 = min_|r|=1 |x - r y|^2 + |z - w|^2 = |x|^2 + |y|^2 - 2 |sum conj(y) x| + |z - w|^2,

as the best r is the phase of sum conj(y) x (Procrustes in the plane). So all pairs of windows take one complex matrix
product, in single precision; d of the nearest is then taken from the difference itself, in double.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64, Int64
from numpy.lib.stride_tricks import sliding_window_view

from motion.errors import InputError
from motion.skeleton import NUM_JOINTS

STRIDE_S = 0.25  # between training windows; a sample's windows are two strides apart
CLIPS_PER_BLOCK = 256  # bounds the memory that a comparison takes


@runtime_checkable
class Moving(Protocol):
    """Part of a motion that is compared; a `MotionSequence` has it."""

    @property
    def id(self) -> str:
        """Name of the motion."""

    @property
    def fps(self) -> float:
        """Frames per second."""

    @property
    def joints(self) -> Float32[np.ndarray, "person frame 24 3"]:
        """Joint positions in metres, Z up."""

    @property
    def valid(self) -> Bool[np.ndarray, "person frame"]:
        """True where the person is present."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of single persons; metres."""

    level: Complex64[np.ndarray, "window point"]
    """Horizontal coordinates x + iy about the window's mean."""
    height: Float32[np.ndarray, "window point"]
    """Heights above the floor."""
    energy: Float32[np.ndarray, " window"]
    """Sum of the squares of all coordinates."""
    clip: Int64[np.ndarray, " window"]
    """Index of the clip that the window is from."""


@dataclass(frozen=True, eq=False)
class WindowIndex:
    """Windows of the training clips, all of one length; 12 bytes a point, so 5.8 kB a window of 20 frames."""

    fps: float
    """Frames per second of the windows."""
    frames: int
    """Frames of a window."""
    ids: tuple[str, ...]
    """Names of all training clips; `Windows.clip` counts in this order."""
    blocks: tuple[Windows, ...]
    """Windows in blocks, each searched at once."""
    left_out: int
    """Number of clips without a single window."""


@dataclass(frozen=True)
class Neighbour:
    """Nearest training clip of a motion."""

    distance: float
    """Distance in metres, the mean over the motion's windows."""
    id: str
    """Clip that is nearest to most of the windows."""


def build_index(sequences: Iterable[Moving], seconds: float = 1.0) -> WindowIndex:
    """Cut windows of `seconds`, a quarter of a second apart, in which a person is valid throughout.

    Raises InputError where clips have different frame rates or where no clip has such a window.
    """
    ids: list[str] = []
    blocks: list[Windows] = []
    clips = iter(sequences)
    fps, frames = 0.0, 0
    while group := list(islice(clips, CLIPS_PER_BLOCK)):
        fps = fps or group[0].fps
        frames = max(1, round(seconds * fps))
        for sequence in group:
            _check_fps(sequence, fps)
        cuts = [_cut(sequence, frames, _stride(fps)) for sequence in group]
        level, height = (np.concatenate(arrays) for arrays in zip(*cuts, strict=True))
        clip = np.repeat(np.arange(len(ids), len(ids) + len(group)), [len(cut[0]) for cut in cuts])
        ids += [sequence.id for sequence in group]
        if len(clip):
            energy = (np.abs(level) ** 2 + height**2).sum(axis=1)
            blocks.append(Windows(level, height, energy, clip))
    if not blocks:
        raise InputError(f"none of the {len(ids)} training clips has {seconds:g} s of valid frames in a row")
    used = sum(len(np.unique(block.clip)) for block in blocks)
    return WindowIndex(fps, frames, tuple(ids), tuple(blocks), left_out=len(ids) - used)


def nearest(index: WindowIndex, sequence: Moving) -> Neighbour | None:
    """Find the training clip most like a motion; None if the motion has no valid window as long as the index's.

    Each window of each person finds its nearest; of clips found equally often, the one that came nearest is named.
    Raises InputError if the motion's frame rate differs from the index's.
    """
    _check_fps(sequence, index.fps)
    level, height = _cut(sequence, index.frames, 2 * _stride(index.fps))
    if not len(level):
        return None
    distances, clips = (
        np.stack(found) for found in zip(*(_search(b, level, height) for b in index.blocks), strict=True)
    )
    block = distances.argmin(axis=0), np.arange(len(level))
    distance, clip = distances[block], clips[block]
    votes = Counter(clip[distance.argsort(kind="stable")].tolist())  # most_common keeps the order of ties
    return Neighbour(float(distance.mean()), index.ids[votes.most_common(1)[0][0]])


def _search(
    block: Windows, level: Complex64[np.ndarray, "query point"], height: Float32[np.ndarray, "query point"]
) -> tuple[Float64[np.ndarray, " query"], Int64[np.ndarray, " query"]]:
    """Find the nearest window of the block for each query: distance in metres, and that window's clip."""
    likeness = np.abs(block.level @ level.conj().T)
    likeness += block.height @ height.T
    likeness -= 0.5 * block.energy[:, None]
    best = likeness.argmax(axis=0)
    return _distance(block.level[best], block.height[best], level, height), block.clip[best]


def _distance(
    level: Complex64[np.ndarray, "query point"],
    height: Float32[np.ndarray, "query point"],
    other_level: Complex64[np.ndarray, "query point"],
    other_height: Float32[np.ndarray, "query point"],
) -> Float64[np.ndarray, " query"]:
    """Compute d of the module's docstring, in metres, of the windows in the same row."""
    level, other_level = level.astype(np.complex128), other_level.astype(np.complex128)
    turn = np.exp(1j * np.angle((other_level.conj() * level).sum(axis=1, keepdims=True)))
    off = np.abs(level - turn * other_level) ** 2 + (height.astype(np.float64) - other_height) ** 2
    return np.sqrt(off.mean(axis=1))


def _cut(
    sequence: Moving, frames: int, stride: int
) -> tuple[Complex64[np.ndarray, "window point"], Float32[np.ndarray, "window point"]]:
    """Cut the windows in which a person is valid throughout, person by person: horizontal coordinates and heights."""
    if sequence.valid.shape[1] < frames:
        return np.empty((0, frames * NUM_JOINTS), np.complex64), np.empty((0, frames * NUM_JOINTS), np.float32)
    whole = sliding_window_view(sequence.valid, frames, axis=1)[:, ::stride].all(axis=-1)
    points = sliding_window_view(sequence.joints, frames, axis=1)[:, ::stride][whole]
    x, y, z = np.moveaxis(points, 2, 0).reshape(3, len(points), frames * NUM_JOINTS)
    level = x + 1j * y.astype(np.float64)
    return (level - level.mean(axis=1, keepdims=True)).astype(np.complex64), z


def _stride(fps: float) -> int:
    return max(1, round(STRIDE_S * fps))


def _check_fps(sequence: Moving, fps: float) -> None:
    if sequence.fps != fps:
        raise InputError(f"{sequence.id}: has {sequence.fps:g} fps, expected {fps:g} as the first clip of the index")
