"""Output of OpenPose, one file a frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.skeleton import KEYPOINT_SETS
from recon.teton.importing.detections import box_around
from recon.teton.importing.openpose import read_openpose
from tests.helpers.recordings import write_openpose


def body(count: int, x: float = 50.0) -> np.ndarray:
    points = np.stack([x + np.arange(count), 40.0 + 3 * np.arange(count), np.full(count, 0.8)], axis=1)
    points[4] = 0
    return points


def files(folder: Path) -> list[tuple[str, Any]]:
    return [(str(path), json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


@pytest.mark.parametrize(("count", "kind"), [(25, "openpose25"), (18, None)])
def test_a_folder_of_frames(tmp_path: Path, count: int, kind: str | None) -> None:
    write_openpose(tmp_path, [[body(count)], [], [body(count), body(count, 150)]])
    annotations = read_openpose(files(tmp_path))
    assert annotations.kind == f"OpenPose-{count}"
    assert kind is None or annotations.keypoint_names == KEYPOINT_SETS[kind]
    assert [(picture.name, picture.number, len(picture.persons)) for picture in annotations.pictures] == [
        ("walk_000000000000", 0, 1),
        ("walk_000000000001", 1, 0),
        ("walk_000000000002", 2, 2),
    ]
    person = annotations.pictures[2].persons[1]
    np.testing.assert_allclose(person.keypoints, body(count, 150))
    np.testing.assert_allclose(person.box, box_around(body(count, 150)))
    assert person.track is None


def one(people: Any, **more: Any) -> list[tuple[str, Any]]:
    return [("walk_000000000003_keypoints.json", {"version": 1.3, "people": people} | more)]


def test_its_own_ids_older_keys_and_too_few_keypoints() -> None:
    flat = body(25).ravel().tolist()
    few = [value if k < 9 else 0 for k, value in enumerate(flat)]
    people = [{"person_id": [4], "pose_keypoints": flat}, {"pose_keypoints_2d": few}, {"pose_keypoints_2d": []}]
    annotations = read_openpose(one(people))
    assert [person.track for person in annotations.pictures[0].persons] == ["4"]
    assert annotations.notes == ("a person with fewer than 4 keypoints is left out",)


@pytest.mark.parametrize(
    ("people", "sentence"),
    [
        ([], "none of 1 OpenPose files holds a person"),
        ("none", "people is 'none', expected a list"),
        ([3], "people: one is 3, expected an object"),
        (
            [{"pose_keypoints_2d": [1.0] * 45}],
            r"pose_keypoints_2d has 45 numbers in walk.*, expected x, y, score of 25",
        ),
        (
            [{"pose_keypoints_2d": [1.0] * 75}, {"pose_keypoints_2d": [1.0] * 54}],
            "has 75 numbers in .* and 54 numbers in",
        ),
        ([{"pose_keypoints_2d": [float("inf")] * 75}], "person 0: pose_keypoints_2d holds"),
        ([{"pose_keypoints_2d": ["a"] * 75}], r"person 0: pose_keypoints_2d is \['a'"),
        ([{"person_id": [[1]], "pose_keypoints_2d": body(25).ravel().tolist()}], r"person_id is \[1\]"),
    ],
)
def test_what_is_wrong_is_a_sentence(people: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_openpose(one(people))
