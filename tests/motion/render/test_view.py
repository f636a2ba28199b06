"""View: all points in the picture, upright, filling it; what cannot be shown is said."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from motion.errors import InputError
from motion.render import animate, strip
from motion.render.view import FARTHEST_M, MARGIN_M, NARROWEST, View, camera_axes, moments, side_by_side
from motion.sequence import MotionSequence


def test_the_view_holds_all_points_and_up_is_up(pair: MotionSequence) -> None:
    axes = camera_axes(pair)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1)
    view = View.around(pair.joints, axes, 300, 200)
    pixels = view.project(pair.joints)
    assert (pixels > 0).all()
    assert (pixels < view.size).all()
    assert view.project(np.array([0.0, 0.0, 1.0]))[1] < view.project(np.zeros(3))[1]
    assert view.project(np.array([1.0, 0.0, 0.0]))[0] > view.project(np.zeros(3))[0]


@pytest.mark.parametrize(("widest", "highest"), [(4000, 400), (400, 4000)])
def test_the_picture_ends_where_the_motion_does(pair: MotionSequence, widest: int, highest: int) -> None:
    """A margin lies around the figures and no more, whichever side is the limit."""
    view = View.around(pair.joints, camera_axes(pair), widest, highest)
    assert view.size[0] == widest or view.size[1] == highest
    floor = pair.joints * np.array([1, 1, 0])
    pixels = view.project(np.concatenate([pair.joints, floor])).reshape(-1, 2)
    for gap in (pixels.min(axis=0), view.size - pixels.max(axis=0)):
        np.testing.assert_allclose(gap, MARGIN_M * view.scale, atol=1.0)


def test_a_narrow_picture_has_room_for_its_caption_and_its_figure_in_the_middle() -> None:
    line = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 20.0]])
    view = View.around(line, np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), 640, 480)
    assert view.size == (NARROWEST, 480)
    np.testing.assert_allclose(view.project(line)[:, 0], NARROWEST / 2)


def test_a_window_is_the_same_picture_cut_out(pair: MotionSequence) -> None:
    view = View.around(pair.joints, camera_axes(pair), 300, 200)
    window, corner = view.window(pair.joints[0, 0])
    assert window.size[0] < view.size[0]
    np.testing.assert_allclose(window.project(pair.joints) + corner, view.project(pair.joints), atol=1e-4)
    inside = window.project(pair.joints[0, 0])
    assert (inside >= 0).all()
    assert (inside <= window.size).all()


def test_rays_pass_through_the_pixels_they_belong_to(pair: MotionSequence) -> None:
    view = View.around(pair.joints, camera_axes(pair), 60, 60)
    width, height = view.size
    rays = view.rays().reshape(height, width, 6)
    np.testing.assert_allclose(view.project(rays[7, 11, :3] + 3 * rays[7, 11, 3:]), [11, 7], atol=1e-3)


def test_poses_of_a_strip_do_not_overlap(pair: MotionSequence) -> None:
    axes, shown = camera_axes(pair), pair.valid[:, ::6]
    placed = (pair.joints[:, ::6] + side_by_side(pair.joints[:, ::6], shown, axes)[:, None]) @ axes[0]
    spans = [(placed[shown[:, k], k].min(), placed[shown[:, k], k].max()) for k in range(placed.shape[1])]
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_moments_are_spread_over_the_frames_with_a_person(pair: MotionSequence) -> None:
    late = replace(pair, valid=pair.valid & (np.arange(24) >= 4))
    assert moments(late, 3).tolist() == [4, 14, 23]


def test_nothing_to_draw_is_said(pair: MotionSequence, tmp_path: Path) -> None:
    unseen = replace(pair, valid=np.zeros_like(pair.valid))
    for write in (strip, animate):
        with pytest.raises(InputError, match="no person is valid"):
            write(unseen, tmp_path / "x")
    with pytest.raises(InputError, match="cannot draw 0 frames"):
        strip(pair, tmp_path / "x.png", frames=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scale", [200.0, 1e9])
def test_a_motion_in_another_unit_is_refused_before_its_floor_is_drawn(
    pair: MotionSequence, scale: float, tmp_path: Path
) -> None:
    huge = replace(pair, joints=pair.joints * np.float32(scale))
    for write in (strip, animate):
        with pytest.raises(InputError, match=rf"reaches .* m from the origin, expected at most {FARTHEST_M:g} m"):
            write(huge, tmp_path / "x.png")
