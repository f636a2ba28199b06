"""Frames and truth of a simulation: persons are drawn where their joints are, and boxes hold what is seen of them."""

import numpy as np
import torch

from motion.body import load_body
from motion.sequence import LABELS
from motion.skeleton import ACTIONS, KEYPOINT_SETS
from recon.simulate import Simulated
from recon.simulate.film import _visible
from recon.teton import PERSON_LABEL
from tests.helpers.simulated import SIZE


def test_visible_means_inside_and_not_behind_more_than_a_limb() -> None:
    depth = np.full((1, 10, 10), 3.0, dtype=np.float32)
    depth[:, :, 5:] = 2.0  # something before the right half
    pixels = np.array([[[[2, 2], [2, 2], [7, 2], [7, 2], [-1, 2], [2, 9.6], [2, 2]]]], dtype=np.float32)
    distances = np.array([[[3.05, 3.2, 2.05, 2.9, 2.0, 2.0, -1.0]]], dtype=np.float32)
    expected = [True, False, True, False, False, False, False]
    np.testing.assert_array_equal(_visible(pixels, distances, depth)[0, 0], expected)


def test_people_are_drawn_where_their_joints_are(rooms: list[Simulated]) -> None:
    """Visible joints inside trunk and legs have a person's label, or that of the blanket over them."""
    inner, bed, checked = ("pelvis", "spine2", "left_knee", "right_knee", "head"), LABELS.index("bed"), 0
    for room in rooms:
        for person, frame in np.ndindex(room.seen.shape):
            in_bed = ACTIONS[room.motion.action[person, frame]].endswith("in_bed")
            for keypoint in (room.keypoint_names.index(name) for name in inner):
                x, y = np.round(room.keypoints[person, frame, keypoint]).astype(int)
                if room.visible[person, frame, keypoint]:
                    label = room.labels[frame, y, x]
                    assert label >= PERSON_LABEL or (in_bed and label == bed)
                    checked += label == PERSON_LABEL + person
    assert checked > 50


def test_keypoints_are_the_projected_joints(rooms: list[Simulated]) -> None:
    room = rooms[0]
    pixels = room.camera.project(torch.from_numpy(room.motion.joints)).numpy()
    columns = [room.keypoint_names.index(name) for name in KEYPOINT_SETS["smpl24"]]
    np.testing.assert_allclose(room.keypoints[:, :, columns], pixels, atol=0.01)
    body = load_body()
    motion = room.motion
    np.testing.assert_allclose(motion.joints, motion.parameters.joints(body), atol=1e-4)


def test_boxes_hold_the_visible_pixels_and_seen_counts_them(rooms: list[Simulated]) -> None:
    for room in rooms:
        for person, frame in np.ndindex(room.seen.shape):
            rows, columns = np.nonzero(room.labels[frame] == PERSON_LABEL + person)
            x0, y0, x1, y1 = room.boxes[person, frame]
            assert 0 <= room.seen[person, frame] <= 1
            assert (len(rows) > 0) == (room.seen[person, frame] > 0)
            if len(rows):
                assert x0 <= columns.min()
                assert columns.max() < x1 <= SIZE[0]
                assert y0 <= rows.min()
                assert rows.max() < y1 <= SIZE[1]
                if room.seen[person, frame] == 1:
                    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    np.testing.assert_array_equal(room.boxes[person, frame], expected)
