"""Names of keypoints as tools write them, and those of `recon.keypoints` that they mean."""

import re
from collections.abc import Sequence

from motion.errors import InputError
from motion.skeleton import KEYPOINT_SETS
from recon.keypoints import FEWEST, KEYPOINT_NAMES
from recon.teton.checked_json import short

OPENPOSE_SETS: dict[int, tuple[str, ...]] = {
    25: KEYPOINT_SETS["openpose25"],
    18: (
        *("nose", "neck"),
        *(f"{side}_{limb}" for side in ("right", "left") for limb in ("shoulder", "elbow", "wrist")),
        *(f"{side}_{limb}" for side in ("right", "left") for limb in ("hip", "knee", "ankle")),
        *("right_eye", "left_eye", "right_ear", "left_ear"),
    ),
}
"""Names by the number of keypoints: BODY_25, and the older COCO model of 18."""
_FEET = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("big_toe", "small_toe", "heel"))
UNUSED = "face_or_hand"
MMPOSE_SETS: dict[int, tuple[str, ...]] = {
    17: KEYPOINT_SETS["coco17"],
    26: (
        *KEYPOINT_SETS["coco17"],
        *("head_top", "neck", "mid_hip"),
        *(f"{side}_{part}" for part in ("big_toe", "small_toe", "heel") for side in ("left", "right")),
    ),
    133: (*KEYPOINT_SETS["coco17"], *_FEET, *(f"{UNUSED}_{k}" for k in range(110))),
}
"""Names by the number of keypoints where MMPose does not write them: COCO, Halpe-26 and COCO-WholeBody."""
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_PARTS = {
    "bigtoe": "big_toe",
    "smalltoe": "small_toe",
    "littletoe": "small_toe",
    "little_toe": "small_toe",
    "footindex": "foot_index",
    "eyeinner": "eye_inner",
    "eyeouter": "eye_outer",
    "midhip": "mid_hip",
    "center_hip": "mid_hip",
    "hip": "mid_hip",
    "root": "mid_hip",
}
# Other tools mean the top of the head, the ankle, a knuckle or the middle of the back.
_ONLY_SMPLS = {"head", "left_foot", "right_foot", "left_hand", "right_hand", "spine1", "spine2", "spine3"}


def meant_name(name: str) -> str:
    """Translate a name: words in snake case, the side first, as in `left_big_toe` for "LBigToe" or "big toe (l)"."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=^[LR])(?=[A-Z])", "_", name.strip())
    words = [word for word in re.split(r"[^a-z0-9]+", apart.lower()) if word]
    side = next((_SIDES[word] for word in words if word in _SIDES), "")
    part = "_".join(word for word in words if word not in _SIDES)
    if part == "mouth" and side:
        return f"mouth_{side}"
    return f"{side}_{part if part == 'hip' else _PARTS.get(part, part)}" if side else _PARTS.get(part, part)


def meant_names(names: Sequence[str], where: str) -> tuple[str | None, ...]:
    """Translate the names of a set of keypoints; None for those that a body does not have.

    Raises InputError where too few are known, or two mean the same.
    """
    found = [meant_name(name) for name in names]
    smpl = set(KEYPOINT_SETS["smpl24"]) <= set(found)
    if "left_ankle" not in found:  # MMPose's Human3.6M calls ankles feet
        found = [re.sub(r"_foot$", "_ankle", name) for name in found]
    known = [name if name in KEYPOINT_NAMES and (smpl or name not in _ONLY_SMPLS) else None for name in found]
    _require_usable(names, known, where)
    return tuple(known)


def _require_usable(names: Sequence[str], known: Sequence[str | None], where: str) -> None:
    used = [name for name in known if name]
    twice = [name for name in used if used.count(name) > 1]
    if twice:
        same = [name for name, meant in zip(names, known, strict=True) if meant == twice[0]]
        raise InputError(f"{where}: the keypoints {same} all mean {twice[0]}, expected each keypoint once")
    _refuse_few(names, used, where)


def _refuse_few(names: Sequence[str], used: Sequence[str], where: str) -> None:
    if len(used) < FEWEST:
        raise InputError(
            f"{where}: of the keypoints {short(list(names))} {len(used)} are known, expected at least {FEWEST} of "
            f"{', '.join(KEYPOINT_SETS['openpose25'])} or others of recon/keypoints.py: name them so in the tool"
        )
