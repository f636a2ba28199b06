"""Names of keypoints as tools write them."""

import pytest

from motion.errors import InputError
from motion.skeleton import KEYPOINT_SETS
from recon.keypoints import KEYPOINT_NAMES
from recon.teton.importing.names import MMPOSE_SETS, OPENPOSE_SETS, meant_name, meant_names


@pytest.mark.parametrize("kind", KEYPOINT_SETS)
def test_our_own_names_stay(kind: str) -> None:
    assert meant_names(KEYPOINT_SETS[kind], kind) == KEYPOINT_SETS[kind]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LBigToe", "left_big_toe"),
        ("RShoulder", "right_shoulder"),
        ("Neck", "neck"),
        ("MidHip", "mid_hip"),
        ("root", "mid_hip"),
        ("leftShoulder", "left_shoulder"),
        ("Right Knee", "right_knee"),
        ("ankle_l", "left_ankle"),
        ("hip-right", "right_hip"),
        ("mouth_left", "mouth_left"),
        ("left_foot_index", "left_foot_index"),
        ("left_eye_inner", "left_eye_inner"),
    ],
)
def test_names_of_tools(name: str, meant: str) -> None:
    assert meant_name(name) == meant
    assert meant in KEYPOINT_NAMES


def test_a_head_is_smpls_only_among_its_joints() -> None:
    assert meant_names(["head", "nose", "left_hip", "right_hip", "left_ankle", "left_foot"], "file") == (
        *(None, "nose", "left_hip", "right_hip", "left_ankle", None),
    )


def test_feet_that_stand_for_ankles() -> None:
    names = ["root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "thorax"]
    assert meant_names(names, "h36m")[3::3] == ("right_ankle", "left_ankle")
    assert meant_names(names, "h36m")[7] is None


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["1", "2", "3", "4", "5"], r"file: of the keypoints \['1', .* 0 are known, expected at least 4 of nose, neck"),
        (["nose", "left_hip", "LHip", "right_hip", "neck"], r"the keypoints \['left_hip', 'LHip'\] all mean left_hip"),
    ],
)
def test_names_that_cannot_be_used(names: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        meant_names(names, "file")


def test_sets_of_the_detectors_are_of_their_size_and_known() -> None:
    for sets in (OPENPOSE_SETS, MMPOSE_SETS):
        for count, names in sets.items():
            assert len(set(names)) == len(names) == count
            assert meant_names(names, "set")[:17] == names[:17]
    assert OPENPOSE_SETS[18][2:5] == ("right_shoulder", "right_elbow", "right_wrist")
    assert OPENPOSE_SETS[18][8:14] == tuple(
        f"{side}_{j}" for side in ("right", "left") for j in ("hip", "knee", "ankle")
    )
    assert MMPOSE_SETS[26][17:20] == ("head_top", "neck", "mid_hip")
    assert MMPOSE_SETS[26][20:22] == ("left_big_toe", "right_big_toe")
    assert MMPOSE_SETS[133][17:20] == ("left_big_toe", "left_small_toe", "left_heel")
