"""Pictures of the mesh: each person in their colour with a shadow, on the floor that stick figures stand on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motion.body import Body
from motion.clips.transforms import crop
from motion.render import animate_body, body_strip, mesh
from motion.render.page import FLOOR, LINE_HEIGHT
from motion.sequence import MotionSequence

TITLE = LINE_HEIGHT + 16


def colored(pixels: np.ndarray, first: int, second: int) -> int:
    """Count pixels that have much more of the first channel than of the second."""
    return int((pixels[..., first].astype(int) - pixels[..., second] > 40).sum())


def test_body_strip_draws_each_person_in_their_colour_with_a_shadow(
    pair: MotionSequence, body: Body, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh, "STRIP_PASSES", 2)
    monkeypatch.setattr(mesh, "STRIP_SIZE", (400, 300))
    body_strip(replace(pair, texts=["two"]), body, tmp_path / "body.png", frames=2)
    with Image.open(tmp_path / "body.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)[TITLE:]
    assert colored(pixels, 2, 0) > 300
    assert colored(pixels, 0, 2) > 150
    grey = np.ptp(pixels, axis=-1) < 12
    assert (grey & (pixels.max(axis=-1) < 190)).sum() > 50
    assert (grey & (pixels.min(axis=-1) > 200)).mean() > 0.4


def test_an_animation_draws_who_is_there(
    pair: MotionSequence, body: Body, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second person, who is orange, comes in at frame 12; frames before are those of the first alone."""
    monkeypatch.setattr(mesh, "ANIMATION_SIZE", (400, 200))
    animate_body(replace(crop(pair, 11, 13), texts=["two"]), body, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        frames = []
        for k in range(2):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("RGB"))[TITLE:])
    assert [colored(frame, 2, 0) > 200 for frame in frames] == [True, True]
    assert [colored(frame, 0, 2) > 200 for frame in frames] == [False, True]
    assert np.abs(frames[0][:8].astype(int) - FLOOR).max() < 40, "nobody stands at the upper edge"
