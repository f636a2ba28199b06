"""Shading: light and shadow of a box on a floor, whose places are known."""

import numpy as np
import pytest

from motion.render.shading import shade, shadow_ends
from motion.render.view import View

# A cube of 0.4 m that floats 1 m above the floor, seen from above at a slant.
CORNERS = np.array([[x, y, z] for x in (-0.2, 0.2) for y in (-0.2, 0.2) for z in (1.0, 1.4)], dtype=np.float32)
FACES = np.array([
    *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]),
    *([2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
])  # fmt: skip
SLANT = np.sqrt(0.5)
AXES = np.array([[1.0, 0, 0], [0, -SLANT, -SLANT], [0, SLANT, -SLANT]])
GREY = 0.8


@pytest.fixture(scope="module")
def view() -> View:
    return View.around(np.concatenate([CORNERS, [[-2, -2, 0], [2, 2, 0]]]), AXES, 200, 200)


@pytest.mark.parametrize(("passes", "soft"), [(1, False), (16, True)])
def test_light_falls_on_the_open_floor_and_not_under_the_box(view: View, passes: int, soft: bool) -> None:
    floor = np.full((view.size[1], view.size[0], 3), GREY)
    picture = shade(CORNERS[None], FACES, np.array([[1.0, 0, 0]]), view, floor, passes, soft)

    def at(point: np.ndarray) -> np.ndarray:
        right, down = view.project(point).round().astype(int)
        return picture[down, right]

    middle = CORNERS.mean(axis=0)
    red = at(middle)
    assert red[0] > 0.4
    assert red[1] == red[2] == 0
    shadow = at(shadow_ends(middle, view))
    assert shadow[0] < 0.75 * GREY
    np.testing.assert_allclose(at(np.array([1.9, -1.9, 0.0])), GREY, atol=0.03 if soft else 1e-4)


def test_shadows_lie_on_the_floor_away_from_the_viewer_to_the_right(view: View) -> None:
    ends = shadow_ends(CORNERS, view)
    np.testing.assert_allclose(ends[:, 2], 0, atol=1e-6)
    assert (ends[:, 0] > CORNERS[:, 0]).all()
    assert (ends[:, 1] > CORNERS[:, 1]).all()
