"""Refusals of an import: each in a sentence, before anything is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recon.teton import find_faults, read_sequence
from tests.helpers.imports import COUNT, Original, Run, change, made, require_same_tracks
from tests.helpers.recordings import write_video


def without_persons(annotations: dict[str, Any]) -> None:
    annotations["annotations"] = []


def of_other_frames(annotations: dict[str, Any]) -> None:
    for image in annotations["images"]:
        image["file_name"] = image["file_name"].replace("frame_0", "frame_9")


def at_the_end_alone(annotations: dict[str, Any]) -> None:
    annotations["annotations"] = [each for each in annotations["annotations"] if each["image_id"] > COUNT - 2]


def turned(annotations: dict[str, Any]) -> None:
    for image in annotations["images"]:
        image["width"], image["height"] = image["height"], image["width"]


def apart(annotations: dict[str, Any]) -> None:
    for each in annotations["annotations"]:
        if "keypoints" in each:
            each["bbox"] = [0.5, 0.5, 3, 3]


def twice(annotations: dict[str, Any]) -> None:
    annotations["annotations"] += annotations["annotations"][:1]


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (without_persons, "the annotations hold no person, expected persons with keypoints"),
        (
            of_other_frames,
            "the annotations are of frames 900000 to 900011 and the recording has 12, expected the recording",
        ),
        (at_the_end_alone, "nobody is there in 3 frames of a sequence, expected persons"),
        (turned, "the annotations are of 192x256 and the frames of 256x192, expected one shape, which is turned"),
        (apart, "far outside the box"),
        (twice, "has two persons of the track"),
    ],
)
def test_annotations_that_do_not_fit_are_a_sentence(
    import_: Run, original: Original, tmp_path: Path, edit: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    ended = import_(annotations=change(original, tmp_path / "walk.json", edit))
    assert ended.status == 2
    assert sentence in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not made(tmp_path / "rooms")
    assert not (tmp_path / "rooms").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": 0.8, "end": 0.3}, "--start is 0.8 and --end 0.3, expected the start before the end"),
        ({"start": 50}, "0 frames are taken between --start and --end (1.10 s in all), expected at least 3"),
        ({"fps": 60}, "--fps is 60, expected at most the 10 frames a second that the recording has"),
        ({"fps": "nan"}, "fps is nan, expected 1 to 240"),
        ({"seconds": 0}, "seconds is 0.0, expected a number above 0"),
        ({"name": "ward"}, "--name is 'ward', expected DEPARTMENT/DEVICE"),
        ({"video": "missing.mp4"}, "missing.mp4: is missing, expected a video file or a folder of frames"),
        ({"annotations": "missing.json"}, "missing.json: is missing, expected a COCO keypoints file"),
    ],
)
def test_options_that_cannot_be_are_a_sentence(import_: Run, options: dict[str, object], sentence: str) -> None:
    ended = import_(**options)
    assert ended.status == 2
    assert sentence in ended.err


def test_intrinsics_that_cannot_be_are_refused_before_anything_is_written(import_: Run, tmp_path: Path) -> None:
    ended = import_("--intrinsics", 2, 2, 128, 96)
    assert ended.status == 2
    assert "intrinsics has the focal length 2, expected 51.2 to 5120 pixels at this width" in ended.err
    assert not (tmp_path / "rooms").exists()


def test_a_gap_in_the_video_is_a_sentence(import_: Run, original: Original, tmp_path: Path) -> None:
    write_video(tmp_path / "walk.mp4", original.frames, [k / 10 + (k > 5) for k in range(COUNT)])
    ended = import_(video=tmp_path / "walk.mp4")
    assert "the recording has no frame between 0.50 and 1.60 s, expected gaps of 0.5 s at most" in ended.err
    assert import_(video=tmp_path / "walk.mp4", start=1.6).status == 0
    require_same_tracks(read_sequence(made(tmp_path / "rooms")[0]), original.sequence, list(range(6, COUNT)))


def test_annotations_of_none_of_the_frames_that_are_taken(import_: Run, original: Original, tmp_path: Path) -> None:
    def late(annotations: dict[str, Any]) -> None:
        annotations["images"] = annotations["images"][8:]
        annotations["annotations"] = [each for each in annotations["annotations"] if each["image_id"] > 8]

    ended = import_(annotations=change(original, tmp_path / "walk.json", late), end=0.5)
    assert "none of its 4 pictures is a frame that is taken (0 to 5), expected annotations of these frames" in ended.err


def test_a_rest_of_an_import_that_was_killed_is_refused_too(import_: Run, tmp_path: Path) -> None:
    assert import_().status == 0
    (folder,) = made(tmp_path / "rooms")
    (folder / "annotations.json").unlink()
    assert import_().status == 2
    assert import_("--replace").status == 0
    assert find_faults(folder) == []
