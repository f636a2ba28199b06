"""Annotations: what is optional, how actions are numbered, and that a fault elsewhere is not a person's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.skeleton import ACTIONS
from recon.teton import find_faults, read_sequence
from recon.teton.annotations import Known, Track, read_meta, read_tracks, require_valid, to_json
from recon.teton.faults import Faults
from tests.helpers.teton import FRAMES, NAMES, change_annotations, make_track

FOLDER = Path("ward/camera")
PATH = FOLDER / "annotations.json"


def test_a_person_comes_back_as_written() -> None:
    track, faults = make_track(np.random.default_rng(3), "7"), Faults(FOLDER)
    (again,) = read_tracks({"7": to_json(track)}, PATH, Known((64, 48), len(NAMES), FRAMES), faults)
    assert not faults
    for name, value in vars(track).items():
        np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)


def require(track: Track, **changed: Any) -> None:
    known = {"image_size": (64, 48), "fps": 10.0, "intrinsics": None, "keypoint_names": NAMES, "num_frames": FRAMES}
    require_valid(FOLDER, [track], **known | changed)


def test_annotations_are_checked_before_they_are_written() -> None:
    track = make_track(np.random.default_rng(3), "7")
    require(track)
    require(track, intrinsics=np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]))
    far = replace(track, boxes=track.boxes + 900)
    for case, sentence in (
        ((far, {}), r"ward/camera/annotations.json: object 7, frame 0: box .* lies outside the image"),
        ((track, {"num_frames": 2}), "expected a number from 0 to 1"),
        ((track, {"fps": 0.0}), "meta: fps is 0.0, expected 1 to 240"),
        ((track, {"intrinsics": np.eye(3)}), "meta: intrinsics has the focal length 1"),
    ):
        with pytest.raises(InputError, match=sentence):
            require(case[0], **case[1])


def test_what_is_not_known_is_not_checked() -> None:
    """Any box, any number of keypoints and any frame pass where meta and frames are wrong themselves."""
    frame = {"box": [900, 900, 950, 990], "center": [0, 0], "keypoints": [[910, 950, 1]], "occluded": False}
    person, faults = {"class": "patient", "frames": {"77": frame}}, Faults(FOLDER)
    assert read_tracks({"7": person}, PATH, Known(None, None, None), faults) == ()
    assert not faults
    read_tracks({"7": person}, PATH, Known((64, 48), 17, 5), faults)
    assert len(faults.kinds()) == 3


def test_each_key_of_meta_is_told_apart() -> None:
    faults = Faults(FOLDER)
    meta = read_meta({"meta": {"image_size": [64, 48], "fps": "ten", "intrinsics": [1, 2]}}, PATH, faults)
    assert (meta.image_size, meta.fps, meta.intrinsics, meta.keypoint_names) == ((64, 48), None, None, None)
    assert [kind.split()[2] for kind in faults.kinds()] == ["has", "fps", "intrinsics"]


def test_wrong_meta_does_not_blame_the_persons(folder: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["meta"] |= {"image_size": [0, 0], "keypoint_names": ["hat"]}

    change_annotations(folder, edit)
    assert [sentence.split()[2] for sentence in find_faults(folder)] == ["image_size", "of"]


def test_unknown_keys_and_actions_are_let_be(folder: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["version"] = "1.2"
        content["meta"]["site"] = {"floor": 3}
        person = content["7"]
        person["weight"] = None
        person["frames"]["0"] |= {"mood": [1], "action": None}
        person["frames"]["1"].pop("action")

    change_annotations(folder, edit)
    assert read_sequence(folder).tracks[0].action[:2].tolist() == [0, 0]


def test_the_files_action_counts_from_laying_in_bed(folder: Path) -> None:
    change_annotations(folder, lambda content: content["7"]["frames"]["0"].update(action=0))
    assert ACTIONS[read_sequence(folder).tracks[0].action[0]] == "laying_in_bed"
