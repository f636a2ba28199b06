"""Annotations recognised by what the files hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.importing.kinds import read_annotations
from tests.helpers.recordings import mmpose_person, write_openpose

POINTS = np.stack([50.0 + np.arange(25), 40.0 + 3 * np.arange(25), np.full(25, 0.8)], axis=1)
COCO = {
    "images": [{"id": 1, "file_name": "0.jpg"}],
    "annotations": [],
    "categories": [{"id": 1, "name": "person", "keypoints": ["nose", "left_hip", "right_hip", "neck"]}],
}
MMPOSE = [{"frame_id": 0, "instances": [mmpose_person(POINTS[:17])]}]


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (COCO, "COCO keypoints"),
        (MMPOSE, "MMPose-17"),
        ({"instance_info": MMPOSE}, "MMPose-17"),
        (MMPOSE[0]["instances"], "MMPose-17"),
    ],
    ids=["coco", "mmpose", "demo", "picture"],
)
def test_a_file_and_a_folder_with_it(tmp_path: Path, content: object, kind: str) -> None:
    path = write(tmp_path / "annotations" / "person_keypoints_default.json", content)
    (tmp_path / "annotations" / "readme.txt").touch()
    assert [read_annotations(each).kind for each in (path, tmp_path)] == [kind, kind]


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "walk.json"
    path.write_text(json.dumps(COCO), encoding="utf-8-sig")
    assert read_annotations(path).kind == "COCO keypoints"


def test_folders_of_frames(tmp_path: Path) -> None:
    write_openpose(tmp_path / "openpose", [[POINTS], []])
    assert len(read_annotations(tmp_path / "openpose").pictures) == 2
    for name in ("2", "10", "1"):
        write(tmp_path / "mmpose" / f"{name}.json", [] if name == "10" else MMPOSE[0]["instances"])
    pictures = read_annotations(tmp_path / "mmpose").pictures
    assert [(picture.name, len(picture.persons)) for picture in pictures] == [("1", 1), ("2", 1), ("10", 0)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"shapes": [], "version": "5"},
            r"is an object of \['shapes', 'version'\], expected a COCO keypoints file, or the JSON",
        ),
        ({"images": [], "annotations": []}, "as COCO but without categories"),
        ([{"image_id": 1, "keypoints": [1]}], "is a list of COCO results, which lacks the names"),
        ([{"data": {}, "annotations": []}], "is Label Studio's own JSON, whose export as COCO can be read"),
        ([{"pose": 1}], r"is a list of objects of \['pose'\]"),
        ([1, 2], r"walk.json: is \[1, 2\], expected"),
        (7, "walk.json: is 7, expected"),
        (COCO | {"people": []}, "could be of COCO or OpenPose by its keys"),
    ],
)
def test_an_unknown_file_is_described(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_annotations(write(tmp_path / "walk.json", content))


def test_a_folder_of_several_kinds_is_refused(tmp_path: Path) -> None:
    write_openpose(tmp_path, [[POINTS]])
    write(tmp_path / "coco.json", COCO)
    with pytest.raises(InputError, match=r"several annotations, 1 of COCO \(coco.json, …\), 1 of OpenPose \(walk_0"):
        read_annotations(tmp_path)


def test_two_coco_files_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write(tmp_path / f"{name}.json", COCO)
    with pytest.raises(InputError, match=r"2 of COCO \(train.json, …\), expected one: name the one"):
        read_annotations(tmp_path)


def test_what_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "export.zip").write_bytes(b"PK")
    (tmp_path / "broken.json").write_text('{"images": [')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "walk.xml").touch()
    for name, sentence in {
        "missing.json": "is missing, expected a COCO keypoints file",
        "export.zip": "unpack the archive",
        "broken.json": "broken.json: is not JSON .*expected a COCO keypoints file",
        "binary.json": "is not JSON",
        "empty": r"holds no .json but \['walk.xml'\], expected a COCO",
    }.items():
        with pytest.raises(InputError, match=sentence):
            read_annotations(tmp_path / name)


def test_pictures_without_anybody(tmp_path: Path) -> None:
    write(tmp_path / "1.json", [])
    with pytest.raises(InputError, match="persons have no keypoints"):
        read_annotations(tmp_path)
