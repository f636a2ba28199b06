"""Records of what tools wrote: boxes of whole persons, overlap, and notes."""

import numpy as np
import pytest

from recon.teton.importing.detections import PADDING, Notes, box_around, overlap, whole_box

POINTS = np.array([[10, 20, 1], [30, 20, 0.5], [10, 120, 1], [30, 120, 1], [900, 900, 0]], dtype=np.float64)


def test_a_box_is_made_around_what_was_seen_and_padded() -> None:
    np.testing.assert_allclose(box_around(POINTS), [10 - 12, 20 - 12, 30 + 12, 120 + 12])
    assert PADDING == 0.12


def test_a_box_of_the_keypoints_alone_is_padded_and_another_is_kept() -> None:
    tight, wide = np.array([10.0, 20.5, 30, 120]), np.array([5.0, 10, 40, 130])
    np.testing.assert_allclose(whole_box(tight, POINTS), box_around(POINTS))
    np.testing.assert_allclose(whole_box(wide, POINTS), wide)


def test_without_a_box_or_four_keypoints_nobody_is_there() -> None:
    assert whole_box(None, POINTS * [1, 1, 0]) is None
    assert whole_box(np.array([3.0, 3, 3, 9]), POINTS[2:]) is None
    assert whole_box(np.array([3.0, 3, 8, 9]), POINTS[2:]) is not None


def test_overlap_is_intersection_over_union() -> None:
    one = np.array([[0.0, 0, 10, 10], [50, 50, 50, 50]])
    other = np.array([[5.0, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(overlap(one, other), [[1 / 3, 1, 0], [0, 0, 0]])


def test_notes_are_said_once_with_their_number() -> None:
    notes = Notes()
    notes.add("none", 0)
    for _ in range(3):
        notes.add("again")
    notes.add("once")
    assert notes.sentences() == ("again (3 times)", "once")


@pytest.mark.parametrize("size", [1, 3])
def test_small_persons_get_some_pixels_of_padding(size: int) -> None:
    points = np.array([[0, 0, 1], [size, size, 1], [0, size, 1], [size, 0, 1]], dtype=np.float64)
    np.testing.assert_allclose(box_around(points), [-4, -4, size + 4, size + 4])
