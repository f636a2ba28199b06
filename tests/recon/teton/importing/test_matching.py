"""Annotations brought to the frames that they are of."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.importing.detections import Annotations, Notes, Person, Picture
from recon.teton.importing.file_names import number_in
from recon.teton.importing.matching import match
from recon.teton.importing.recording import Recording

SIZE = (320, 240)


def recording(count: int, names: list[str] | None = None, shown: tuple[int, int] = SIZE) -> Recording:
    thumbnails = np.zeros((count, 24, 32, 3), dtype=np.uint8)
    found = None if names is None else tuple(names)
    times = np.arange(count) / 10
    return Recording(Path("a.mp4"), SIZE, shown, times, thumbnails, datetime.now(UTC), lambda _: iter(()), count, found)


def person(x: float = 100.0) -> Person:
    return Person(np.tile([[x, 120.0, 1.0]], (4, 1)), np.array([x - 9, 100, x + 9, 140], dtype=np.float64))


def picture(
    name: str | None, number: int | None = None, size: tuple[int, int] | None = None, x: float = 100.0
) -> Picture:
    return Picture(name, number_in(name) if name and number is None else number, size, (person(x),))


def matched(pictures: list[Picture], target: Recording) -> tuple[dict[int, Picture], str]:
    notes = Notes()
    found = match(Annotations("COCO", ("a", "b", "c", "d"), tuple(pictures)), target, notes)
    return found, "\n".join(notes.sentences())


@pytest.mark.parametrize(
    ("numbers", "count", "first"),
    [
        (range(10), 10, 0),
        (range(1, 11), 10, 1),
        (range(1, 8), 10, 1),
        (range(3, 10), 10, 0),
        (range(3, 11), 10, 1),
        (range(0, 10, 3), 10, 0),
        (range(1, 11, 3), 10, 1),
        (range(11), 10, 0),
    ],
    ids=str,
)
def test_numbers_count_from_zero_or_one(numbers: range, count: int, first: int) -> None:
    found, notes = matched([picture(f"frame_{k:06d}.PNG") for k in numbers], recording(count))
    assert list(found) == [k - first for k in numbers if k - first < count]
    assert (
        f"frames {numbers[0]} to {numbers[-1]} are annotated, of {count}: they are taken as counted from {first}"
        in notes
    )
    assert ("1 annotated pictures are no frames of the recording" in notes) == (numbers[-1] - first == count)


def test_pictures_without_numbers_are_taken_in_order() -> None:
    found, notes = matched([picture("start.jpg"), picture("middle.jpg"), picture("end.jpg")], recording(3))
    assert [each.name for each in found.values()] == ["start.jpg", "middle.jpg", "end.jpg"]
    assert "in the order of their ids" in notes
    with pytest.raises(
        InputError, match=r"1 pictures are annotated, named \['start.jpg'\], and the recording has 3 frames"
    ):
        matched([picture("start.jpg")], recording(3))


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        (["b.jpg", "c.jpg"], ["a.png", "b.png", "c.png"]),
        (["images/0a1b2c3d-b.jpg", "images/1a1b2c3d-c.jpg"], ["a.jpg", "b.jpg", "c.jpg"]),
        (["frame_000017.PNG", "frame_000018.PNG"], ["000016.jpg", "000017.jpg", "000018.jpg"]),
        (["7", "8"], ["6.jpg", "7.jpg", "8.jpg"]),
    ],
)
def test_files_are_found_by_name_or_the_number_in_it(theirs: list[str], own: list[str]) -> None:
    found, notes = matched([picture(name) for name in theirs], recording(3, own))
    assert {place: each.name for place, each in found.items()} == {1: theirs[0], 2: theirs[1]}
    assert notes == ""


def test_numbers_of_a_video_fit_a_folder() -> None:
    found, notes = matched([picture(None, k) for k in (1, 2, 3)], recording(3, ["a.jpg", "b.jpg", "c.jpg"]))
    assert list(found) == [0, 1, 2]
    assert "counted from 1" in notes


@pytest.mark.parametrize(
    ("pictures", "names", "sentence"),
    [
        (
            ["x.jpg", "y.jpg"],
            ["a.jpg", "b.jpg", "c.jpg"],
            r"are of \['x.jpg', 'y.jpg'\], the frames are \['a.jpg', 'b.jpg'",
        ),
        (["x9.jpg"], ["a1.jpg", "b2.jpg", "c3.jpg"], "expected names that fit"),
        (["a.jpg", "sub/a.jpg"], ["a.jpg", "b.jpg", "c.jpg"], "annotations of a.jpg and sub/a.jpg both fit frame 0"),
        (
            [f"f{k}" for k in range(250)],
            None,
            "are of frames 0 to 249 and the recording has 3, expected the recording that was",
        ),
    ],
)
def test_what_does_not_fit_is_a_sentence(pictures: list[str], names: list[str] | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        matched([picture(name) for name in pictures], recording(3, names))


def test_another_size_is_noted_and_another_shape_refused() -> None:
    assert matched([picture("0", size=SIZE)], recording(3))[1].startswith("frames 0 to 0")
    assert (
        "are of 640x480 and the frames of 320x240: positions are scaled"
        in matched([picture("0", size=(640, 480))], recording(3))[1]
    )
    with pytest.raises(
        InputError, match=r"are of 240x320 and the frames of 320x240, expected one shape, which is turned"
    ):
        matched([picture("0", size=(240, 320))], recording(3))
    with pytest.raises(
        InputError, match="are of 320x320 and the frames of 320x240, expected one shape: annotate this very"
    ):
        matched([picture("0", size=(320, 320))], recording(3))
    assert matched([picture("0", size=(640, 240))], recording(3, shown=(640, 240)))[0]


def test_keypoints_of_another_picture_are_refused() -> None:
    matched([picture("0", x=340)], recording(3))
    with pytest.raises(
        InputError, match=r"100% of the keypoints lie outside the frames of 320x240 \(they reach to 900x120\)"
    ):
        matched([picture("0", x=900)], recording(3))
    share = Person(np.tile([[0.4, 0.9, 1.0]], (4, 1)), np.array([0.1, 0.1, 0.6, 0.9]))
    with pytest.raises(InputError, match="look like shares of the picture, expected pixels"):
        matched([Picture("0", 0, None, (share,))], recording(3))
    with pytest.raises(InputError, match="the annotations hold no person"):
        matched([Picture("0", 0)], recording(3))
