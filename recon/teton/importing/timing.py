"""Steps of constant rate through a recording, and the stretches of them that become sequences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int64

from motion.errors import InputError
from recon.teton.annotations import FPS_RANGE
from recon.teton.tree import FEWEST_FRAMES

MOST_FPS = 10.0  # of a sequence by default: persons in care move slowly, and time costs
SLACK = 0.05  # of a rate, by which one may exceed another, so that 10.01 is not halved
LONGEST_GAP_S = 0.5
EMPTY_S = 1.0  # without any person, where a sequence ends
NOTICED_S = 0.005  # by which a frame may be early or late without a word


@dataclass(frozen=True, eq=False)
class Steps:
    """Frames of a recording at a constant rate."""

    numbers: Int64[np.ndarray, " step"]
    """Number of the frame of each step."""
    fps: float
    """Steps per second."""
    start: float
    """Time of the first step in seconds."""
    notes: tuple[str, ...] = ()
    """Sentences about the rate and how well the frames fit it."""

    def time(self, step: int) -> float:
        """Compute the time of a step in seconds."""
        return self.start + step / self.fps


def cut(times: Float64[np.ndarray, " frame"], start: float | None, end: float | None) -> Int64[np.ndarray, " kept"]:
    """List the frames between two times in seconds, None for the recording's own ends.

    Raises InputError where too few are left, or one comes later than LONGEST_GAP_S after the one before.
    """
    low, high = -math.inf if start is None else start, math.inf if end is None else end
    kept = np.flatnonzero((times >= low - 1e-6) & (times <= high + 1e-6))
    if len(kept) < FEWEST_FRAMES:
        limits = "" if start is None and end is None else " between --start and --end"
        raise InputError(
            f"{len(kept)} frames are taken{limits} ({times[-1]:.2f} s in all), expected at least {FEWEST_FRAMES}"
        )
    _refuse_gaps(times[kept])
    return kept


def _refuse_gaps(times: Float64[np.ndarray, " kept"]) -> None:
    gaps = np.flatnonzero(np.diff(times) > LONGEST_GAP_S + 1e-6)
    if len(gaps):
        before, after = times[gaps[0]], times[gaps[0] + 1]
        more = f" (and {len(gaps) - 1} more gaps)" if len(gaps) > 1 else ""
        raise InputError(
            f"the recording has no frame between {before:.2f} and {after:.2f} s{more}, expected gaps of "
            f"{LONGEST_GAP_S} s at most: cut it by --end {before:.2f} or --start {after:.2f}"
        )


def choose_steps(
    times: Float64[np.ndarray, " frame"],
    kept: Int64[np.ndarray, " kept"],
    annotated: Bool[np.ndarray, " frame"],
    fps: float | None,
) -> Steps:
    """Choose the nearest frame for each step of constant rate, an annotated one where one is as near as half a step.

    Args:
        times: Time of each frame in seconds.
        kept: Numbers of the frames to choose from.
        annotated: True for the frames with annotations; at least one of `kept` has them.
        fps: Rate of the steps; None for that of the annotated frames, or the part of it that is not above MOST_FPS.

    Raises InputError for a rate that a Teton tree may not have or that is above the recording's.
    """
    own = (len(kept) - 1) / max(float(times[kept[-1]] - times[kept[0]]), 1e-9)
    every = _stride(np.flatnonzero(annotated[kept]))
    rate = default_rate(own / every) if fps is None else fps
    _check_rate(rate, own)
    count = 1 + math.floor((times[kept[-1]] - times[kept[0]]) * rate + SLACK)
    ideal = times[kept[0]] + np.arange(count) / rate
    numbers, preferred = (some[_nearest(times[some], ideal)] for some in (kept, kept[annotated[kept]]))
    numbers = np.where(np.abs(times[preferred] - ideal) < 0.5 / rate + 1e-6, preferred, numbers)
    return Steps(numbers, rate, float(ideal[0]), _notes(times[numbers] - ideal, numbers, own, every, rate))


def default_rate(own: float) -> float:
    """Compute the greatest of a rate, its half, its third, … that is not above MOST_FPS."""
    return round(own / max(1, math.ceil(own / MOST_FPS - SLACK)), 6)


def _stride(annotated: Int64[np.ndarray, " found"]) -> int:
    """Find how many frames lie from one annotated frame to the next, mostly."""
    return max(1, int(np.median(np.diff(annotated)))) if len(annotated) > 1 else 1


def _check_rate(rate: float, own: float) -> None:
    low, high = FPS_RANGE
    if not low <= rate <= high:
        raise InputError(f"the rate is {rate:.3g} frames a second, expected {low:g} to {high:g}: choose by --fps")
    if rate > own * (1 + SLACK):
        raise InputError(f"--fps is {rate:g}, expected at most the {own:.4g} frames a second that the recording has")


def _nearest(times: Float64[np.ndarray, " frame"], ideal: Float64[np.ndarray, " step"]) -> Int64[np.ndarray, " step"]:
    """Find the index of the time, of those that rise, that is nearest to each ideal one."""
    after = np.searchsorted(times, ideal).clip(max=len(times) - 1)
    before = (after - 1).clip(0)
    return np.where(ideal - times[before] <= times[after] - ideal, before, after)


def _notes(
    late: Float64[np.ndarray, " step"], numbers: Int64[np.ndarray, " step"], own: float, every: int, rate: float
) -> tuple[str, ...]:
    notes = []
    if every > 1:
        notes.append(f"mostly one frame in {every} is annotated, and those are taken")
    most = float(np.abs(late).max())
    if most > NOTICED_S:
        frames = f"frames come {own:.4g} times a second on average and are taken at {rate:.4g}"
        notes.append(f"{frames}: they are up to {1000 * most:.0f} ms early or late")
    repeated = int((np.diff(numbers) == 0).sum())
    if repeated:
        notes.append(f"{repeated} frames are shown twice, as the recording has fewer there")
    return tuple(notes)


def stretches(there: Bool[np.ndarray, " step"], fps: float, seconds: float) -> list[tuple[int, int]]:
    """List the stretches (first step, one after the last) with persons, of at most `seconds` where that is long enough.

    A stretch ends where no person is there for EMPTY_S or longer; one that is too long is cut into equal parts, of
    FEWEST_FRAMES steps or more.
    """
    steps = np.flatnonzero(there)
    ends = np.flatnonzero(np.diff(steps) - 1 >= EMPTY_S * fps)
    runs = np.split(steps, ends + 1) if len(steps) else []
    longest = max(FEWEST_FRAMES, math.floor(seconds * fps + 1e-6))
    return [part for run in runs for part in _parts(int(run[0]), int(run[-1]) + 1, longest)]


def _parts(first: int, last: int, longest: int) -> Sequence[tuple[int, int]]:
    count = max(1, min(math.ceil((last - first) / longest), (last - first) // FEWEST_FRAMES))
    edges = np.linspace(first, last, count + 1).round().astype(int).tolist()
    return list(pairwise(edges))
