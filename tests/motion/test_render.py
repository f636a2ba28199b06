"""Pictures: what they hold, how fast a GIF runs, and the command line."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import motion.render
from motion.body import Body
from motion.errors import InputError
from motion.parquet import write_parquet
from motion.render import FAMILIES, PAPER, STRIP_WIDTH, Picture, View, animate, body_strip, draw, strip
from motion.sequence import MotionSequence
from motion.skeleton import LEFT, RIGHT
from tests.helpers.clips import UPRIGHT, simulated

REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pair(body: Body) -> MotionSequence:
    """Walk two persons in T-pose along +x side by side for 1.2 s; the second comes in at half time."""
    frames = 24
    x, still = torch.linspace(0, 1, frames), torch.zeros(frames)
    height = float(-body.rest_joints(torch.zeros(10))[:, 1].min())
    transl = torch.stack([torch.stack([x, still + side, still + height], dim=-1) for side in (0.0, 2.0)])
    orient = UPRIGHT.expand(2, frames, 3, 3)
    pose, betas = torch.eye(3).expand(2, frames, 23, 3, 3), torch.zeros(2, 10)
    valid = np.ones((2, frames), dtype=np.bool_)
    valid[1, :12] = False
    texts = ["two people glide forward with their arms held out"]
    return simulated(body, transl, orient, pose, betas, id="made/pair", valid=valid, texts=texts)


def count(image: Image.Image, color: tuple[int, int, int]) -> int:
    return int((np.asarray(image.convert("RGB")) == color).all(axis=-1).sum())


def test_the_view_holds_all_points_and_up_is_up(pair: MotionSequence) -> None:
    axes = motion.render._axes(pair)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1)
    view = View.around(pair.joints, axes, 300, 200)
    pixels = view.project(pair.joints)
    assert (pixels > 0).all()
    assert (pixels < [300, 200]).all()
    assert view.project(np.array([0.0, 0.0, 1.0]))[1] < view.project(np.zeros(3))[1]
    assert view.project(np.array([1.0, 0.0, 0.0]))[0] > view.project(np.zeros(3))[0]


def test_rays_pass_through_the_pixels_they_belong_to(pair: MotionSequence) -> None:
    view = View.around(pair.joints, motion.render._axes(pair), 30, 20)
    rays = view.rays().reshape(20, 30, 6)
    np.testing.assert_allclose(view.project(rays[7, 11, :3] + 3 * rays[7, 11, 3:]), [11, 7], atol=1e-3)


def test_strip_shows_both_people_and_both_sides(pair: MotionSequence, tmp_path: Path) -> None:
    strip(pair, tmp_path / "new" / "strip.png", frames=4)
    with Image.open(tmp_path / "new" / "strip.png") as image:
        assert image.width == STRIP_WIDTH
        assert count(image, PAPER) > 1000
        for family in FAMILIES[:2]:
            assert all(count(image, color) > 50 for color in family)


def test_left_limbs_are_light_and_right_limbs_dark(pair: MotionSequence) -> None:
    limbs = motion.render._limbs(pair.joints[0, 0], FAMILIES[0])
    colors = {tuple(np.round(end, 4)): color for _, end, _, color in limbs}
    for side, color in ((LEFT, FAMILIES[0][1]), (RIGHT, FAMILIES[0][2])):
        assert all(colors[tuple(np.round(pair.joints[0, 0, joint], 4))] == color for joint in side)


def test_poses_of_a_strip_do_not_overlap(pair: MotionSequence) -> None:
    axes = motion.render._axes(pair)
    placed = motion.render._side_by_side(pair.joints[:, ::6], pair.valid[:, ::6], axes) @ axes[0]
    shown = pair.valid[:, ::6]
    spans = [(placed[shown[:, k], k].min(), placed[shown[:, k], k].max()) for k in range(placed.shape[1])]
    assert all(before[1] < after[0] for before, after in pairwise(spans))


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


def test_body_strip_draws_each_person_in_their_colour_with_a_shadow(
    pair: MotionSequence, body: Body, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion.render, "SHADING_PASSES", 2)
    monkeypatch.setattr(motion.render, "STRIP_WIDTH", 300)
    body_strip(pair, body, tmp_path / "body.png", frames=2)
    with Image.open(tmp_path / "body.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)[motion.render.TITLE_HEIGHT :]
    red, blue = pixels[..., 0], pixels[..., 2]
    assert (blue - red > 40).sum() > 300
    assert (red - blue > 40).sum() > 150
    grey = np.ptp(pixels, axis=-1) < 12
    assert (grey & (pixels.max(axis=-1) < 190)).sum() > 50
    assert (grey & (pixels.min(axis=-1) > 200)).mean() > 0.4


def test_nothing_to_draw_is_said(pair: MotionSequence, tmp_path: Path) -> None:
    unseen = replace(pair, valid=np.zeros_like(pair.valid))
    for write in (strip, animate):
        with pytest.raises(InputError, match="no person is valid"):
            write(unseen, tmp_path / "x")
    with pytest.raises(InputError, match="cannot draw 0 frames"):
        strip(pair, tmp_path / "x.png", frames=0)
    assert list(tmp_path.iterdir()) == []


def test_a_long_title_is_cut(pair: MotionSequence, tmp_path: Path) -> None:
    animate(replace(pair, texts=["a person walks " * 30]), tmp_path / "a.gif")
    assert (tmp_path / "a.gif").stat().st_size > 1000


def test_draw_finds_a_motion_by_its_id(pair: MotionSequence, tmp_path: Path) -> None:
    write_parquet([pair, replace(pair, id="made/other")], tmp_path / "motions" / "a.parquet")
    source = str(tmp_path / "motions")
    draw(Picture(source, "made/other", tmp_path / "out.png"))
    assert (tmp_path / "out.png").is_file()
    with pytest.raises(InputError, match=r"no motion has the id 'x'; it holds 2, such as made/pair, made/other"):
        draw(Picture(source, "x", tmp_path / "out.gif"))
    with pytest.raises(InputError, match=r"ends in \.gif or \.png"):
        draw(Picture(source, "made/pair", tmp_path / "out.mp4"))


def test_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "motion.render", *arguments]
        return subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)

    shown = run("--help")
    assert shown.returncode == 0
    assert "--id" in shown.stdout
    assert "humanoid3d_walk" in shown.stdout
    wrong = run(str(tmp_path), "--id", "x")
    assert wrong.returncode != 0
    assert "no motion has the id 'x'" in wrong.stderr
    assert "Traceback" not in wrong.stderr
