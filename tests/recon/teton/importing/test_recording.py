"""Frames of a recording at the size that is asked for."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from recon.teton.importing.recording import Recording, resized, thumbnail


def grey(level: int) -> np.ndarray:
    return np.full((48, 64, 3), level, dtype=np.uint8)


def test_frames_may_repeat_and_are_decoded_once() -> None:
    asked: list[Sequence[int]] = []

    def decode(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        asked.append(numbers)
        yield from map(grey, numbers)

    thumbnails = np.zeros((9, 24, 32, 3), dtype=np.uint8)
    recording = Recording(
        Path("walk.mp4"), (64, 48), (64, 48), np.arange(9) / 10, thumbnails, datetime.now(UTC), decode, length=9
    )
    frames = list(recording.read([2, 3, 3, 3, 7], (32, 24)))
    assert [int(frame[0, 0, 0]) for frame in frames] == [2, 3, 3, 3, 7]
    assert {frame.shape for frame in frames} == {(24, 32, 3)}
    assert asked == [[2, 3, 7]]


def test_a_frame_of_the_size_is_not_touched() -> None:
    frame = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    assert resized(frame, (64, 48)) is frame
    assert abs(resized(frame, (16, 12)).mean() - frame.mean()) < 2


def test_a_thumbnail_is_that_of_key_frames() -> None:
    assert thumbnail(Image.fromarray(grey(7))).shape == (24, 32, 3)
