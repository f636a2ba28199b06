"""BVH files: names, channels in the order written, rates, layouts of the text, and damage of all kinds."""

import time
from pathlib import Path

import numpy as np
import pytest

from motion.datasets import bvh
from motion.datasets.bvh_file import joint_transforms, read_bvh
from motion.errors import InputError
from tests.helpers.sources import bvh as source
from tests.helpers.sources.humanml3d import walk

TWO_JOINTS = """HIERARCHY
ROOT Hips
{{
  OFFSET 1 2 3
  CHANNELS {root}
  JOINT Left Leg
  {{
    OFFSET 0 -10 0
    CHANNELS {leg}
    End Site
    {{
      OFFSET 0 -5 2
    }}
  }}
}}
MOTION
Frames: 1
Frame Time: .04
{numbers}
"""


def small_file(folder: Path, root: str, leg: str, numbers: str) -> Path:
    path = folder / "small.bvh"
    path.write_text(TWO_JOINTS.format(root=root, leg=leg, numbers=numbers))
    return path


def test_parses_names_parents_channels_and_rate(tmp_path: Path) -> None:
    found = read_bvh(small_file(tmp_path, "3 Xrotation Yrotation Zrotation", "1 YPOSITION", "0 0 0 7"))
    assert [(joint.name, joint.parent) for joint in found.joints] == [
        ("Hips", -1),
        ("Left Leg", 0),
        ("Left Leg_end", 1),
    ]
    assert [joint.channels for joint in found.joints] == [("xrotation", "yrotation", "zrotation"), ("yposition",), ()]
    assert found.fps == 25.0


@pytest.mark.parametrize(
    ("root", "leg", "numbers", "ends"),
    [
        # a root without position channels stays on its offset; 90 degrees about x take y to z
        ("1 Xrotation", "0", "90", [[1, 2, 3], [1, 2, -7], [1, 0, -12]]),
        # channels multiply in the order written: Rz Rx takes -y to -x and -z, Rx Rz takes it to +x
        ("2 Zrotation Xrotation", "0", "90 90", [[1, 2, 3], [1, 2, -7], [3, 2, -12]]),
        ("2 Xrotation Zrotation", "0", "90 90", [[1, 2, 3], [11, 2, 3], [16, 0, 3]]),
        # positions stand in for the offset, axis by axis, in any order and among rotations
        (
            "4 Yposition Xrotation Zposition Xposition",
            "1 Yposition",
            "5 0 6 4 -20",
            [[4, 5, 6], [4, -15, 6], [4, -20, 8]],
        ),
    ],
)
def test_forward_kinematics_follow_the_channels(
    tmp_path: Path, root: str, leg: str, numbers: str, ends: list[list[int]]
) -> None:
    found = read_bvh(small_file(tmp_path, root, leg, numbers))
    np.testing.assert_allclose(joint_transforms(found)[0][0], ends, atol=1e-9)


@pytest.mark.parametrize(
    ("written", "fps"),
    [("0.0333333", 30), ("0.033333", 30), ("0.008333", 120), ("0.00833", 120), ("0.0417083", 23.976)],
)
def test_rates_that_were_rounded_are_whole_again(tmp_path: Path, written: str, fps: float) -> None:
    path = small_file(tmp_path, "1 Xrotation", "0", "0")
    path.write_text(path.read_text().replace("Frame Time: .04", f"Frame Time:\t{written}"))
    assert read_bvh(path).fps == pytest.approx(fps, abs=1e-3 if fps % 1 else 0)


def test_reads_carriage_returns_tabs_and_braces_on_the_same_line(tmp_path: Path) -> None:
    path = tmp_path / "clip.bvh"
    source.write_pose(path, walk(0.5, 30.0, 0), 30.0)
    plain = joint_transforms(read_bvh(path))[0]
    text = path.read_text().replace("\n{", " {").replace(" ", "\t").replace("\n", "\r\n")
    path.write_bytes(text.replace("Frame\tTime", "Frame Time").encode())
    np.testing.assert_array_equal(joint_transforms(read_bvh(path))[0], plain)


def test_real_bandai_namco_files_have_the_published_positions(shared_data: Path) -> None:
    data = np.load(shared_data / "bandai_namco" / "bandai_namco_30fps.npz")
    files = sorted((shared_data / "bandai_namco" / "bvh_sample").glob("*.bvh"))
    assert len(files) == 2
    for file in files:
        found = read_bvh(file)
        positions = joint_transforms(found)[0][:, [found.names.index(name) for name in data["joint_names"]]]
        assert found.fps == 30.0
        np.testing.assert_allclose(0.01 * positions, data[f"{file.stem}|pos"], atol=1e-5)


def test_many_bandai_namco_files_are_read_fast(shared_data: Path, tmp_path: Path) -> None:
    data = shared_data / "bandai_namco" / "bandai_namco_30fps.npz"
    assert source.write_bandai_namco(data, tmp_path, 30) == 30
    wanted, frames, seconds = np.load(data), 0, 0.0
    for clip in bvh.list_clips(tmp_path):
        start = time.perf_counter()
        found = read_bvh(Path(clip.files[0]))
        positions = joint_transforms(found)[0]
        seconds += time.perf_counter() - start
        frames += len(positions)
        of_names = positions[:, [found.names.index(name) for name in wanted["joint_names"]]]
        np.testing.assert_allclose(0.01 * of_names, wanted[f"{Path(clip.files[0]).stem}|pos"], atol=2e-3)
    assert frames / seconds > 2000  # all 804 files have 131 000 frames, which then take about a minute


def spoilt(folder: Path, old: str, new: str) -> Path:
    path = small_file(folder, "3 Xrotation Yrotation Zrotation", "1 YPOSITION", "0 0 0 7\n1 2 3 4\n5 6 7 8")
    path.write_text(path.read_text().replace("Frames: 1", "Frames: 3").replace(old, new))
    return path


@pytest.mark.parametrize("written", ["Frame time:", "frame  time:", "FRAME TIME:"])
def test_the_motions_head_may_be_in_any_case(tmp_path: Path, written: str) -> None:
    assert read_bvh(spoilt(tmp_path, "Frame Time:", written)).fps == 25.0


@pytest.mark.parametrize("count", [2, 4])
def test_a_count_that_is_off_by_one_costs_nothing(tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture) -> None:
    found = read_bvh(spoilt(tmp_path, "Frames: 3", f"Frames: {count}"))
    np.testing.assert_array_equal(found.frames, [[0, 0, 0, 7], [1, 2, 3, 4], [5, 6, 7, 8]])
    assert f"Frames says {count}, read are the 3 rows that it holds" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Frames: 3", "Frames: 5", r"holds 12 numbers, expected 5 frames of 4 channels, 20 numbers; mend Frames"),
        ("5 6 7 8", "5 6 7", r"holds 11 numbers, expected 3 frames of 4 channels, 12 numbers"),
        ("OFFSET 0 -5 2", "", r"HIERARCHY is damaged \(Left Leg_end has no OFFSET\)"),
        ("}\nMOTION", "MOTION", r"HIERARCHY is damaged \(a brace is not closed\)"),
        (
            "ROOT Hips\n{",
            "OFFSET 0 0 0\nROOT Hips\n{",
            r"HIERARCHY is damaged \(it has a brace, OFFSET or CHANNELS out",
        ),
    ],
)
def test_the_fault_is_told_in_words(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_bvh(spoilt(tmp_path, old, new))


def test_a_mark_at_the_start_is_left_out(tmp_path: Path) -> None:
    path = spoilt(tmp_path, "HIERARCHY", "\ufeffHIERARCHY")
    assert read_bvh(path).names == ["Hips", "Left Leg", "Left Leg_end"]
