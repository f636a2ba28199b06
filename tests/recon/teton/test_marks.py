"""Marks of persons without masks: which pixels may show whom."""

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton import PERSON_LABEL, Track
from recon.teton.annotations import MOST_PERSONS
from recon.teton.marks import SOMEONE, draw_people

SIZE = (60, 40)


def track(box: tuple[float, ...], *keypoints: tuple[float, float, float]) -> Track:
    made = Track.absent("7", 1, 2, len(keypoints))
    made.present[1] = True
    made.boxes[1], made.keypoints[1] = box, np.array(keypoints, dtype=np.float32).reshape(-1, 3)
    return made


def test_boxes_are_anybodys_and_what_is_near_a_visible_keypoint_the_persons_own() -> None:
    labels = draw_people([track((5, 5, 25, 35), (10, 10, 1.0), (20, 30, 0.4))], 1, SIZE)
    assert (labels[10, 10], labels[10, 11], labels[30, 20], labels[20, 40]) == (PERSON_LABEL, PERSON_LABEL, SOMEONE, 0)
    assert (labels > 0).sum() == 20 * 30
    assert not draw_people([track((5, 5, 25, 35), (10, 10, 1.0))], 0, SIZE).any(), "the person is not there"


def test_where_two_keypoints_meet_nobody_is_told_apart() -> None:
    persons = [track((5, 5, 25, 35), (15, 20, 1.0), (7, 7, 1.0)), track((8, 5, 28, 35), (15, 20, 1.0), (26, 9, 1.0))]
    labels = draw_people(persons, 1, SIZE)
    assert (labels[20, 15], labels[7, 7], labels[9, 26]) == (SOMEONE, PERSON_LABEL, PERSON_LABEL + 1)


def test_boxes_and_keypoints_beyond_the_picture_are_cut_off() -> None:
    labels = draw_people([track((-9, -9, 99, 12), (-5, -5, 1.0), (59.4, 5, 1.0), (99, 99, 1.0))], 1, SIZE)
    assert (labels[:12] >= PERSON_LABEL).all()
    assert not labels[12:].any()
    assert labels[5, 59] == PERSON_LABEL


def test_more_persons_than_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"128 persons are annotated without masks, expected at most 127"):
        draw_people([track((5, 5, 25, 35))] * MOST_PERSONS, 1, SIZE)
