"""Results of MMPose in the forms in which its inferencer and its demos write them."""

from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.skeleton import KEYPOINT_SETS
from recon.teton.importing.mmpose import read_mmpose
from recon.teton.importing.names import MMPOSE_SETS
from tests.helpers.recordings import mmpose_person

BOX = np.array([40.0, 30, 80, 120])


def body(count: int = 17) -> np.ndarray:
    return np.stack([50.0 + np.arange(count) % 20, 40.0 + 3 * (np.arange(count) % 20), np.full(count, 0.8)], axis=1)


def test_a_video_of_the_inferencer() -> None:
    content = [
        {"frame_id": 0, "instances": [mmpose_person(body(), BOX)]},
        {"frame_id": 1, "instances": []},
        {
            "frame_id": 2,
            "instances": [mmpose_person(body()), mmpose_person(body() + np.array([100, 0, 0.4]), BOX + 100)],
        },
    ]
    annotations = read_mmpose([("walk.json", content)])
    assert annotations.keypoint_names == KEYPOINT_SETS["coco17"]
    assert [(picture.number, len(picture.persons)) for picture in annotations.pictures] == [(0, 1), (1, 0), (2, 2)]
    np.testing.assert_array_equal(annotations.pictures[0].persons[0].box, BOX)
    np.testing.assert_allclose(annotations.pictures[0].persons[0].keypoints, body())
    assert annotations.pictures[2].persons[1].keypoints[:, 2].max() == 1, "SimCC's scores may exceed 1"
    assert any(
        "17 keypoints without names are taken as those of MMPose's model of 17" in note for note in annotations.notes
    )


def test_a_video_of_the_demo_names_its_keypoints() -> None:
    names = ["root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine", "thorax"]
    meta = {"dataset_name": "h36m", "keypoint_id2name": {str(k): name for k, name in enumerate(names)}}
    frames = [{"frame_id": k, "instances": [mmpose_person(body(9), BOX)]} for k in (1, 2)]
    annotations = read_mmpose([("results_walk.json", {"meta_info": meta, "instance_info": frames})])
    assert annotations.keypoint_names == (
        *("mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    )
    assert [picture.number for picture in annotations.pictures] == [1, 2]
    np.testing.assert_allclose(annotations.pictures[0].persons[0].keypoints, body(9)[:7])
    assert [note for note in annotations.notes if "thorax" in note]


def test_a_folder_of_pictures() -> None:
    files = [(f"predictions/{k:06d}.json", [mmpose_person(body(), BOX)] if k else []) for k in range(3)]
    pictures = read_mmpose(files).pictures
    assert [(picture.name, picture.number, len(picture.persons)) for picture in pictures] == [
        *(("000000", 0, 0), ("000001", 1, 1), ("000002", 2, 1)),
    ]


@pytest.mark.parametrize("wrapped", [False, True])
def test_lists_of_lists_as_python_returns_them(wrapped: bool) -> None:
    frames: list[Any] = [[mmpose_person(body(), BOX)], [mmpose_person(body()), mmpose_person(body())]]
    pictures = read_mmpose([("all.json", [[frame] for frame in frames] if wrapped else frames)]).pictures
    assert [(picture.number, len(picture.persons)) for picture in pictures] == [(0, 1), (1, 2)]


def test_hands_and_faces_of_whole_bodies_are_left_out_without_a_word() -> None:
    annotations = read_mmpose([("walk.json", [{"frame_id": 0, "instances": [mmpose_person(body(133), BOX)]}])])
    assert annotations.keypoint_names == MMPOSE_SETS[133][:23]
    assert annotations.pictures[0].persons[0].keypoints.shape == (23, 3)
    assert len(annotations.notes) == 1


def test_ids_of_a_tracker() -> None:
    frames = [{"frame_id": 0, "instances": [mmpose_person(body(), BOX) | {"track_id": 8}]}]
    assert read_mmpose([("walk.json", frames)]).pictures[0].persons[0].track == "8"


GOOD = mmpose_person(body(), BOX)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([{"frame_id": "a", "instances": [GOOD]}], "frame 0: frame_id is 'a', expected a number from 0 on"),
        ([{"frame_id": 0, "instances": 3}], "frame 0: instances is 3, expected a list"),
        ([{"frame_id": 0, "instances": [GOOD, 3]}], "person 1 is 3, expected keypoints and keypoint_scores"),
        ([{"frame_id": 0, "instances": []}], "persons have no keypoints without names"),
        (
            [{"frame_id": 0, "instances": [mmpose_person(body(21))]}],
            "persons have 21 keypoints without names, expected one",
        ),
        ([{"frame_id": 0, "instances": [GOOD, mmpose_person(body(26))]}], "have 17 and 26 keypoints without names"),
        ([{"frame_id": 0, "instances": [GOOD | {"keypoint_scores": [1]}]}], r"person 0: keypoint_scores is \[1\]"),
        ([{"frame_id": 0, "instances": [GOOD | {"bbox": [[1, 2]]}]}], r"person 0: bbox is \[1, 2\], expected \[\[x0"),
        ({"instance_info": 3}, "instance_info is 3, expected a list of frames"),
        (
            {"meta_info": {"keypoint_id2name": {"0": "nose", "2": "neck"}}, "instance_info": []},
            "names by number from 0",
        ),
    ],
)
def test_what_is_wrong_is_a_sentence(content: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_mmpose([("walk.json", content)])
