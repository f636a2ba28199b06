"""Page around a picture: a caption that can be read to its end, how fast a GIF runs, how long it may be."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from motion.errors import InputError
from motion.render import PAPER, animate
from motion.render.page import LINE_HEIGHT, MOST_GIF_FRAMES, MOST_LINES, gif_frames, titled, wrapped
from motion.sequence import MotionSequence


@pytest.mark.parametrize(
    "text", ["a person walks " * 10, "pneumono" * 15, "a person does " + "supercali" * 12 + " things", "short", "x"]
)
def test_a_caption_is_shown_whole_in_lines_that_fit(text: str) -> None:
    font = ImageFont.load_default(18)
    lines = wrapped(text, font, 300)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(font.getlength(line) <= 300 for line in lines)
    assert all(font.getlength(f"{one} {other.split()[0]}") > 300 for one, other in pairwise(lines))


def test_words_stay_whole() -> None:
    words = ["an", "elderly", "patient", "slips", "next", "to", "the", "bed", "and", "falls", "to", "the", "floor"]
    lines = wrapped(" ".join(words), ImageFont.load_default(18), 200)
    assert len(lines) > 1
    assert " ".join(lines).split() == words


def test_a_caption_without_end_is_cut() -> None:
    lines = wrapped("a person walks " * 300, ImageFont.load_default(18), 300)
    assert len(lines) == MOST_LINES
    assert lines[-1] == "…"


def test_the_picture_stands_under_its_caption(pair: MotionSequence) -> None:
    picture = Image.new("RGB", (320, 100), (255, 0, 0))
    one, more = (titled(picture, replace(pair, texts=[text])) for text in ("walk", "a person walks " * 8))
    extra = more.height - one.height
    assert extra > 0
    assert extra % LINE_HEIGHT == 0
    for page in (one, more):
        pixels = np.asarray(page)
        assert (pixels[-100:] == (255, 0, 0)).all()
        assert (pixels[0] == PAPER).all()


@pytest.mark.parametrize(("fps", "images"), [(20.0, 24), (60.0, 12), (30.0, 24)])
def test_gif_lasts_as_long_as_the_motion(fps: float, images: int, pair: MotionSequence, tmp_path: Path) -> None:
    animate(replace(pair, fps=fps), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == images
        durations = []
        for k in range(gif.n_frames):
            gif.seek(k)
            durations.append(gif.info["duration"])
    assert min(durations) >= 20
    assert sum(durations) == pytest.approx(1000 * 24 / fps, abs=6)


def test_a_motion_of_minutes_is_refused_before_it_is_drawn(pair: MotionSequence) -> None:
    repeats = MOST_GIF_FRAMES // pair.num_frames + 1
    names = ("transl", "global_orient", "body_pose", "joints", "valid", "action")
    long = replace(pair, **{name: np.concatenate([getattr(pair, name)] * repeats, axis=1) for name in names})
    with pytest.raises(InputError, match=rf"a GIF of it has {long.num_frames} frames, expected at most 1500"):
        gif_frames(long)
    assert len(gif_frames(replace(long, fps=100.0))) == -(-long.num_frames // 2)
