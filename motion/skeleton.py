"""The SMPL skeleton: 24 joints, their parents, left/right pairs and feet.

Order and names are SMPL's (Loper et al. 2015); joint 0 is the pelvis. Sources with 22 joints
(SMPL-H body joints, HumanML3D, InterHuman) lack the last two, the hands.
"""

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
NUM_JOINTS = len(JOINT_NAMES)
PARENTS: tuple[int, ...] = (
    *(-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8),
    *(9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21),
)
JOINT: dict[str, int] = {name: index for index, name in enumerate(JOINT_NAMES)}
BONES: tuple[tuple[int, int], ...] = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)
LEFT: tuple[int, ...] = tuple(i for i, name in enumerate(JOINT_NAMES) if name.startswith("left_"))
RIGHT: tuple[int, ...] = tuple(JOINT[JOINT_NAMES[i].replace("left_", "right_")] for i in LEFT)
_ACROSS = dict(zip(LEFT + RIGHT, RIGHT + LEFT, strict=True))
# The joint at each joint's place in the mirror image.
MIRRORED: tuple[int, ...] = tuple(_ACROSS.get(joint, joint) for joint in range(NUM_JOINTS))
FEET: tuple[int, ...] = tuple(JOINT[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot"))

PERSON_CLASSES: tuple[str, ...] = ("unknown", "person", "patient", "medical_staff")
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
