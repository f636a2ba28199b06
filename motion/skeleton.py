"""The SMPL skeleton (24 joints, parents, left/right pairs, feet), and the tables of person classes and actions.

Order and names are SMPL's (Loper et al. 2015); joint 0 is the pelvis. Sources with 22 joints
(SMPL-H body joints, HumanML3D, InterHuman) lack the last two, the hands. The sets of 2D keypoints that detectors
and annotators use are here by name; where each lies on a body says `recon.keypoints`.
"""

from typing import TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

JOINT_NAMES: tuple[str, ...] = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)
"""Names of the 24 joints by index from 0, the pelvis."""
NUM_JOINTS = len(JOINT_NAMES)
PARENTS: tuple[int, ...] = (
    *(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
    *(9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21),
)
"""Index of each joint's parent; -1 for the pelvis. A parent comes before its children."""
JOINT: dict[str, int] = {name: index for index, name in enumerate(JOINT_NAMES)}
"""Index of a joint by its name."""
BONES: tuple[tuple[int, int], ...] = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)
"""The 23 bones as (parent, child)."""
LEFT: tuple[int, ...] = tuple(i for i, name in enumerate(JOINT_NAMES) if name.startswith("left_"))
"""Joints of the left side, in the order of `RIGHT`."""
RIGHT: tuple[int, ...] = tuple(JOINT[JOINT_NAMES[i].replace("left_", "right_")] for i in LEFT)
"""Joints of the right side: `RIGHT[i]` is the counterpart of `LEFT[i]`."""
_ACROSS = dict(zip(LEFT + RIGHT, RIGHT + LEFT, strict=True))
MIRRORED: tuple[int, ...] = tuple(_ACROSS.get(joint, joint) for joint in range(NUM_JOINTS))
"""Index of each joint's counterpart on the other side; joints of the middle are their own."""
FEET: tuple[int, ...] = tuple(JOINT[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot"))
"""Joints that touch the floor: ankle and foot of the left side, then of the right."""

PERSON_CLASSES: tuple[str, ...] = ("unknown", "person", "patient", "medical_staff")
"""Classes of persons by index: 0 unknown, 1 person, 2 patient, 3 medical_staff.

`MotionSequence.person_class` holds the index.
 Files of the Teton tree and requests hold the name.
"""
ACTIONS: tuple[str, ...] = (
    "unknown",
    "laying_in_bed",
    "laying_on_floor",
    "sitting_in_bed",
    "sitting_in_chair",
    "sitting_in_lift",
    "standing_on_floor",
    "walking_with_walking_aid",
    "sitting_in_walker",
    "sitting_on_bed_edge",
    "sitting_on_floor",
    "kneeling",
    "crawling",
)
"""Actions of a person in a frame, by index.

0 unknown, 1 laying_in_bed, 2 laying_on_floor, 3 sitting_in_bed, 4 sitting_in_chair, 5 sitting_in_lift,
6 standing_on_floor, 7 walking_with_walking_aid, 8 sitting_in_walker, 9 sitting_on_bed_edge, 10 sitting_on_floor,
11 kneeling, 12 crawling. `MotionSequence.action` holds this index. `action` in a Teton tree's annotations.json is this
index minus 1, as it has no unknown. Requests hold the name.
"""

_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_TOES = ("big_toe", "small_toe", "heel")
KEYPOINT_SETS: dict[str, tuple[str, ...]] = {
    "smpl24": JOINT_NAMES,
    "coco17": (*_FACE, *(f"{side}_{limb}" for limb in _LIMBS for side in ("left", "right"))),
    "openpose25": (
        *("nose", "neck"),
        *(f"{side}_{limb}" for side in ("right", "left") for limb in _LIMBS[:3]),
        "mid_hip",
        *(f"{side}_{limb}" for side in ("right", "left") for limb in _LIMBS[3:]),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
        *(f"{side}_{toe}" for side in ("left", "right") for toe in _TOES),
    ),
    "blazepose33": (
        "nose",
        *(f"{side}_{eye}" for side in ("left", "right") for eye in ("eye_inner", "eye", "eye_outer")),
        *("left_ear", "right_ear", "mouth_left", "mouth_right"),
        *(
            f"{side}_{part}"
            for part in (*_LIMBS[:3], "pinky", "index", "thumb", *_LIMBS[3:], "heel", "foot_index")
            for side in ("left", "right")
        ),
    ),
}
"""Names of 2D keypoints in the order in which each detector lists them.

COCO (Lin et al. 2014), OpenPose BODY_25 (Cao et al. 2019), BlazePose (Bazarevsky et al. 2020), and SMPL's own joints.
"""


def to_the_right(joints: Array, *pairs: str) -> Array:
    """Add up the vectors from the left to the right joint of pairs such as "hip"; `joints` are "*batch joint 3".

    A person faces a quarter turn to the left of it. Formats differ in the pairs, and in what they say of someone who
    lies on their side, where the line stands upright.
    """
    first, *others = ((joints[..., JOINT[f"left_{name}"], :], joints[..., JOINT[f"right_{name}"], :]) for name in pairs)
    line = first[1] - first[0]
    for left, right in others:
        line = line - left + right
    return line
