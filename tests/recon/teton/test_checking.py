"""Checks of whole trees: all faults in one run, before any network loads."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from motion.errors import InputError
from recon.teton import PERSON_LABEL, find_faults, read_sequence, require_readable
from recon.teton.images import write_depth
from tests.conftest import Ended
from tests.helpers.teton import FRAMES, HEIGHT, KEYFRAMES, WIDTH, change_annotations, make_track, write_valid

Run = Callable[..., Ended]


def spoil(content: dict[str, Any]) -> None:
    """Leave out what a new user leaves out, and add a person with a wrong class and a box of text."""
    del content["meta"]["fps"]
    for annotation in content["7"]["frames"].values():
        del annotation["center"], annotation["occluded"]
    content["8"] = {"class": "robot", "frames": {"0": {"box": "all", "center": [1, 2], "keypoints": [[1, 2]]}}}


FAULTS = [
    "annotations.json: meta: fps is None, expected 1 to 240",
    "frames/000002.jpg: is 32x24, expected 64x48 as image_size says",
    "annotations.json: object 7, frame 0: has no center, expected [x, y] (and 3 more like it)",
    "annotations.json: object 7, frame 0: has no occluded, expected true or false (and 4 more like it)",
    "annotations.json: object 8: class is 'robot', expected one of unknown, person, patient, medical_staff",
    "annotations.json: object 8, frame 0: box is 'all', expected [x0, y0, x1, y1]",
    "annotations.json: object 8, frame 0: keypoints has 1 entries, expected 17 as keypoint_names in meta has",
    "masks/000000.png: is missing, expected masks of all key frames (0 has none)",
]


@pytest.fixture
def spoiled(folder: Path) -> Path:
    change_annotations(folder, spoil)
    (folder / "masks" / "000000.png").unlink()
    Image.new("RGB", (32, 24)).save(folder / "frames" / "000002.jpg")
    return folder


def test_all_that_is_wrong_is_said_at_once(spoiled: Path) -> None:
    assert find_faults(spoiled) == FAULTS


def test_reading_says_the_first_and_how_to_see_all(spoiled: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_sequence(spoiled)
    first = "; ".join(FAULTS[:5])
    assert str(raised.value) == f"{spoiled}/{first}; and 3 more: see python -m recon.teton check {spoiled}"


def test_frames_are_still_checked_where_annotations_cannot_be_read(spoiled: Path) -> None:
    (spoiled / "annotations.json").write_text("{")
    shutil.rmtree(spoiled / "frames")
    found = find_faults(spoiled)
    assert [sentence.partition(":")[0] for sentence in found] == ["annotations.json", "frames"]


def test_pixels_are_decoded(folder: Path) -> None:
    assert find_faults(folder) == []
    frame = folder / "frames" / "000003.jpg"
    frame.write_bytes(frame.read_bytes()[:-700])
    Image.new("L", (WIDTH, HEIGHT), 99).save(folder / "masks" / "000003.png")
    Image.new("L", (WIDTH, HEIGHT), 0).save(folder / "masks" / "000000.png")
    found = find_faults(folder)
    assert [sentence.partition(":")[0] for sentence in found] == ["frames/000003.jpg", "masks/000003.png"]


def test_a_folder_without_masks_is_right_and_one_of_other_files_is_not(folder: Path) -> None:
    masks = sorted((folder / "masks").iterdir())
    for path in masks:
        path.rename(path.with_suffix(".jpg"))
    assert find_faults(folder) == ["masks/000000.png: is missing, expected masks of all key frames (0, 3 have none)"]
    shutil.rmtree(folder / "masks")
    assert find_faults(folder) == []


def test_measured_depth_is_decoded_and_wanted_of_all_key_frames(folder: Path) -> None:
    (folder / "depth").mkdir()
    metres = np.full((HEIGHT, WIDTH), 2.5, dtype=np.float32)
    write_depth(metres, folder / "depth" / "000003.png")
    assert find_faults(folder) == ["depth/000000.png: is missing, expected depth of all key frames (0 has none)"]
    Image.new("L", (WIDTH, HEIGHT), 99).save(folder / "depth" / "000000.png")
    assert find_faults(folder) == ["depth/000000.png: is of the mode L, expected 16-bit grey of millimetres"]
    write_depth(metres / 1000, folder / "depth" / "000000.png")
    (fault,) = find_faults(folder)
    assert fault.startswith("depth/000000.png: half of it is nearer than 0.002 m"), "metres were taken for millimetres"
    write_depth(metres, folder / "depth" / "000000.png")
    assert find_faults(folder) == []


def test_links_that_lead_nowhere_cost_their_own_sequence(folder: Path) -> None:
    frame = folder / "frames" / "000002.jpg"
    frame.unlink()
    frame.symlink_to(frame)
    assert any("000002.jpg: is missing, expected an image of 64x48" in fault for fault in find_faults(folder))


def test_a_pipe_is_no_frame(folder: Path) -> None:
    frame = folder / "frames" / "000002.jpg"
    frame.unlink()
    os.mkfifo(frame)
    assert find_faults(folder) == ["frames/000002.jpg: is missing, expected an image of 64x48"]


def test_a_person_who_is_marked_nowhere_is_told(folder: Path) -> None:
    for number in KEYFRAMES:
        path = folder / "masks" / f"{number:06d}.png"
        mask = np.asarray(Image.open(path)).copy()
        mask[mask >= PERSON_LABEL] = 0
        Image.fromarray(mask).save(path)
    assert "masks: no pixel has the label 128, expected object 7 to be marked" in find_faults(folder)


def test_masks_of_persons_who_are_swapped_are_told(tmp_path: Path) -> None:
    left, right = (replace(make_track(np.random.default_rng(0), name), present=np.ones(FRAMES, bool)) for name in "ab")
    left.boxes[:], right.boxes[:] = (4, 4, 20, 40), (30, 4, 60, 40)
    left.keypoints[:], right.keypoints[:] = (12, 20, 1), (45, 20, 1)
    write_valid(tmp_path, [left, right])
    assert find_faults(tmp_path) == []
    path = tmp_path / "masks" / "000003.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[mask >= PERSON_LABEL] ^= 1
    Image.fromarray(mask).save(path)
    (fault,) = find_faults(tmp_path)
    assert fault.startswith(f"masks/000003.png: 0% of label {PERSON_LABEL} lies in the box of object a, expected most")


def test_a_job_is_refused_where_no_sequence_can_be_read(spoiled: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of 2 sequences can be read; the first: .*fps is None.*no center"):
        require_readable([spoiled, tmp_path / "nothing"])
    require_readable([])


def test_a_job_goes_on_where_one_sequence_can_be_read(folder: Path, tmp_path: Path) -> None:
    unread = tmp_path / "nothing"
    require_readable([unread, folder])
    require_readable(rest := iter([folder, unread]))
    assert list(rest) == [unread], "it stops at the first that can be read"


def test_the_program_lists_the_faults_of_all_sequences(
    spoiled: Path, tmp_path: Path, run_program: Callable[..., Ended]
) -> None:
    other = spoiled.with_name("130000")
    shutil.copytree(spoiled, other)
    (other / "annotations.json").unlink()
    ended = run_program("recon.teton", "check", str(tmp_path))
    assert ended.status == 2
    lines = ended.out.splitlines()
    assert lines[: len(FAULTS) + 1] == [str(spoiled), *(f"  {fault}" for fault in FAULTS)]
    assert lines[len(FAULTS) + 1] == str(other)
    assert "2 of 2 sequences have faults" in ended.err


@pytest.mark.parametrize("of_the_root", [True, False])
def test_the_program_is_content_with_what_is_right(
    folder: Path, tmp_path: Path, run_program: Callable[..., Ended], of_the_root: bool
) -> None:
    ended = run_program("recon.teton", "check", str(tmp_path if of_the_root else folder))
    assert (ended.status, ended.out) == (0, "sequences: 1, all without faults\n")
    shutil.rmtree(folder / "masks")
    ended = run_program("recon.teton", "check", str(folder))
    assert ended.status == 0
    assert ended.out.splitlines()[1].startswith("without masks: 1; persons will be known by boxes and keypoints")


def test_nothing_found_is_an_error(tmp_path: Path, run_program: Callable[..., Ended]) -> None:
    for arguments in ((), (str(tmp_path / "nothing"),)):
        assert run_program("recon.teton", "check", *arguments).status == 2
