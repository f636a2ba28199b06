"""SMPL's skeleton as a tree, its two sides, and tables whose numbers stand in files and datasets."""

import numpy as np
import pytest
import torch

from motion.skeleton import (
    ACTIONS,
    BONES,
    FEET,
    JOINT,
    JOINT_NAMES,
    KEYPOINT_SETS,
    LEFT,
    MIRRORED,
    PARENTS,
    PERSON_CLASSES,
    RIGHT,
    to_the_right,
)

# Each limb as a chain of names from the pelvis outwards.
CHAINS = (
    "pelvis spine1 spine2 spine3 neck head",
    "pelvis left_hip left_knee left_ankle left_foot",
    "pelvis right_hip right_knee right_ankle right_foot",
    "spine3 left_collar left_shoulder left_elbow left_wrist left_hand",
    "spine3 right_collar right_shoulder right_elbow right_wrist right_hand",
)


def test_the_tree_is_a_trunk_and_four_limbs() -> None:
    links = {(chain[i], chain[i + 1]) for chain in map(str.split, CHAINS) for i in range(len(chain) - 1)}
    assert {(JOINT_NAMES[parent], JOINT_NAMES[child]) for parent, child in BONES} == links
    assert len(JOINT_NAMES) == 24
    assert all(parent < child for child, parent in enumerate(PARENTS)), "a parent comes before its children"


def test_sides_are_each_others_mirror_image() -> None:
    for left, right in zip(LEFT, RIGHT, strict=True):
        assert JOINT_NAMES[left].replace("left_", "right_") == JOINT_NAMES[right]
        assert (MIRRORED[left], MIRRORED[right]) == (right, left)
    middle = [joint for joint in range(24) if MIRRORED[joint] == joint]
    assert [JOINT_NAMES[joint] for joint in middle] == CHAINS[0].split()
    assert FEET == (7, 10, 8, 11)


def test_numbers_of_actions_and_classes_stay_as_they_are_in_files() -> None:
    """Records hold these indices, and a Teton tree the action's less one: only the end of a table may grow."""
    assert ACTIONS[:7] == (
        *("unknown", "laying_in_bed", "laying_on_floor", "sitting_in_bed"),
        *("sitting_in_chair", "sitting_in_lift", "standing_on_floor"),
    )
    assert ACTIONS[7:13] == (
        *("walking_with_walking_aid", "sitting_in_walker", "sitting_on_bed_edge"),
        *("sitting_on_floor", "kneeling", "crawling"),
    )
    assert PERSON_CLASSES[:4] == ("unknown", "person", "patient", "medical_staff")


@pytest.mark.parametrize(
    ("name", "places"),
    [
        (
            "coco17",
            {0: "nose", 1: "left_eye", 5: "left_shoulder", 10: "right_wrist", 16: "right_ankle"},
        ),
        (
            "openpose25",
            {1: "neck", 2: "right_shoulder", 7: "left_wrist", 8: "mid_hip", 9: "right_hip", 14: "left_ankle"}
            | {15: "right_eye", 18: "left_ear", 19: "left_big_toe", 21: "left_heel", 22: "right_big_toe"},
        ),
        (
            "blazepose33",
            {1: "left_eye_inner", 4: "right_eye_inner", 8: "right_ear", 9: "mouth_left", 11: "left_shoulder"}
            | {17: "left_pinky", 22: "right_thumb", 23: "left_hip", 29: "left_heel", 32: "right_foot_index"},
        ),
    ],
)
def test_keypoints_are_in_the_order_of_each_detectors_paper(name: str, places: dict[int, str]) -> None:
    assert {place: KEYPOINT_SETS[name][place] for place in places} == places


def test_the_line_to_the_right_adds_up_over_the_pairs() -> None:
    joints = np.zeros((2, 24, 3))
    joints[:, JOINT["left_hip"]], joints[:, JOINT["right_hip"]] = [0, 0.1, 1], [0, -0.1, 1]
    joints[:, JOINT["left_shoulder"]], joints[:, JOINT["right_shoulder"]] = [0.3, 0.2, 1.4], [0, -0.2, 1.4]
    np.testing.assert_allclose(to_the_right(joints, "hip"), [[0, -0.2, 0]] * 2)
    np.testing.assert_allclose(to_the_right(joints, "hip", "shoulder"), [[-0.3, -0.6, 0]] * 2)
    of_tensor = to_the_right(torch.from_numpy(joints), "hip", "shoulder")
    np.testing.assert_allclose(of_tensor.numpy(), [[-0.3, -0.6, 0]] * 2)
