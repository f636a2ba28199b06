"""Stick figures: what the pictures hold."""

from pathlib import Path

import numpy as np
from PIL import Image

from motion.render import FAMILIES, PAPER, animate, sticks, strip
from motion.render.page import ANIMATION_SIZE, STRIP_SIZE
from motion.sequence import MotionSequence
from motion.skeleton import LEFT, RIGHT


def count(image: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(image.convert("RGB")) == color).all(axis=-1).sum())


def test_strip_shows_both_people_and_both_sides(pair: MotionSequence, tmp_path: Path) -> None:
    strip(pair, tmp_path / "new" / "strip.png", frames=4)
    with Image.open(tmp_path / "new" / "strip.png") as image:
        assert image.width == STRIP_SIZE[0]
        assert count(image, PAPER) > 1000
        for family in FAMILIES[:2]:
            assert all(count(image, color) > 50 for color in family)


def test_left_limbs_are_light_and_right_limbs_dark(pair: MotionSequence) -> None:
    limbs = sticks._limbs(pair.joints[0, 0], FAMILIES[0])
    colors = {tuple(np.round(end, 4)): color for _, end, _, color in limbs}
    for side, color in ((LEFT, FAMILIES[0][1]), (RIGHT, FAMILIES[0][2])):
        assert all(colors[tuple(np.round(pair.joints[0, 0, joint], 4))] == color for joint in side)


def test_an_animation_shows_each_frame(pair: MotionSequence, tmp_path: Path) -> None:
    animate(pair, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == pair.num_frames
        assert gif.width == ANIMATION_SIZE[0] or gif.height > ANIMATION_SIZE[1]
