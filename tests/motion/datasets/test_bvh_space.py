"""Unit and up axis of BVH files, found or said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion.body import Body
from motion.clips.sanity import STATURE
from motion.datasets import bvh
from motion.datasets.bvh_file import read_bvh
from motion.datasets.bvh_names import LAYOUTS
from motion.datasets.bvh_space import find_scale, leg_length
from motion.datasets.clip import Clip
from motion.errors import InputError
from motion.skeleton import JOINT
from tests.helpers.sources import bvh as source
from tests.helpers.sources.humanml3d import walk

ABOUT_X = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # y goes to z
ABOUT_Z = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("order", ["ZXY", "XYZ"])
def test_a_file_whose_z_is_up_is_the_same_motion(tmp_path: Path, body: Body, order: str) -> None:
    pose = walk(1.0, 30.0, 1)
    source.write_pose(tmp_path / "y.bvh", pose, 30.0, source.MOTION_BUILDER, order=order)
    source.write_pose(tmp_path / "z.bvh", pose, 30.0, source.MOTION_BUILDER, order=order, turn=ABOUT_X)
    y, z = (source.read_one(tmp_path / name, body) for name in ("y.bvh", "z.bvh"))
    assert (y.provenance["up_axis"], z.provenance["up_axis"]) == ("y", "z")
    np.testing.assert_allclose(z.joints, y.joints, atol=1e-3)
    np.testing.assert_allclose(z.body_pose, y.body_pose, atol=1e-2)


def test_who_lies_in_a_file_whose_y_is_up_lies(tmp_path: Path, body: Body) -> None:
    pose = walk(1.0, 30.0, 1)
    lying = replace(pose, global_orient=torch.from_numpy(ABOUT_X.T).float() @ pose.global_orient)
    source.write_pose(tmp_path / "lying.bvh", lying, 30.0, source.MOTION_BUILDER)
    found = source.read_one(tmp_path / "lying.bvh", body)
    assert found.provenance["up_axis"] == "y"
    trunk = found.joints[0, :, JOINT["neck"]] - found.joints[0, :, JOINT["pelvis"]]
    assert np.abs(trunk[:, 2]).max() < 0.5 * np.linalg.norm(trunk, axis=-1).min()


@pytest.mark.parametrize(
    ("turn", "axis"), [(ABOUT_Z, "-x"), (ABOUT_Z.T, "x"), (ABOUT_X.T, "-z"), (ABOUT_Z @ ABOUT_Z, "-y")]
)
def test_a_file_that_stands_along_another_axis_is_refused(
    tmp_path: Path, body: Body, turn: np.ndarray, axis: str
) -> None:
    source.write_pose(tmp_path / "odd.bvh", walk(1.0, 30.0, 1), 30.0, source.MOTION_BUILDER, turn=turn)
    with pytest.raises(
        InputError, match=rf"odd\.bvh: stands along {axis} in its zero pose and its frames, expected y or z"
    ):
        source.read_one(tmp_path / "odd.bvh", body)


@pytest.mark.parametrize("heading", range(0, 360, 45))
def test_who_lies_or_crawls_in_a_file_whose_z_may_be_up_is_refused(tmp_path: Path, body: Body, heading: float) -> None:
    """Whichever way the person fell."""
    pose = walk(1.0, 30.0, 1)
    turn = Rotation.from_euler("z", heading, degrees=True).as_matrix() @ ABOUT_X
    lying = replace(pose, global_orient=torch.from_numpy(turn).float() @ pose.global_orient)
    source.write_pose(tmp_path / "crawl.bvh", lying, 30.0, source.MOTION_BUILDER, turn=ABOUT_X)
    with pytest.raises(InputError, match=r"crawl\.bvh: stands along z in its zero pose and not in its frames"):
        source.read_one(tmp_path / "crawl.bvh", body)


def test_the_axis_that_points_up_may_be_said(tmp_path: Path, body: Body) -> None:
    pose = walk(1.0, 30.0, 1)
    lying = replace(pose, global_orient=torch.from_numpy(ABOUT_X).float() @ pose.global_orient)
    source.write_pose(tmp_path / "crawl.bvh", lying, 30.0, source.MOTION_BUILDER, turn=ABOUT_X)
    found = source.read_one(tmp_path / "crawl.bvh", body, up_axis="z")
    assert found.provenance["up_axis"] == "z"
    np.testing.assert_allclose(source.level(found.joints), source.level(lying.joints(body).numpy()), atol=0.02)
    source.write_pose(tmp_path / "z.bvh", pose, 30.0, source.MOTION_BUILDER, turn=ABOUT_X)
    trunk = np.diff(source.read_one(tmp_path / "z.bvh", body, up_axis="y").joints[0, :, [0, JOINT["neck"]]], axis=0)[0]
    assert np.abs(trunk[:, 2]).max() < 0.2, "the user's word counts"


def test_the_poser_figure_gets_a_leg_of_an_adult(tmp_path: Path, body: Body) -> None:
    source.write_dataset(tmp_path)
    files = [tmp_path / "cmu" / f"{subject}_01.bvh" for subject in ("60", "61")]
    layout = LAYOUTS[source.POSER]
    joints = list(layout.joints)
    tracks = [bvh._tracks(read_bvh(file), layout, joints, {}, body)[0] for file in files]
    scale = find_scale(str(files[0]), tracks[0], joints, 120.0, layout.leg, 1.2)
    assert leg_length(scale * tracks[1], joints) == pytest.approx(0.84)


def test_the_scale_may_be_said(tmp_path: Path, body: Body) -> None:
    """A leg of 41 is one in inches of a giant, unless the unit is 2 cm."""
    source.write_pose(tmp_path / "clip.bvh", walk(0.5, 30.0, 1), 30.0, unit=0.02)
    guessed, said = (source.read_one(tmp_path / "clip.bvh", body, scale=scale) for scale in (None, 0.02))
    assert [record.provenance["metres_per_unit"] for record in (guessed, said)] == ["0.0254", "0.02"]
    assert [record.provenance[STATURE] for record in (guessed, said)] == ["2.15", "1.69"]


def child(path: Path, size: float, speed: float = 1.0) -> Path:
    """Write a walk in centimetres of a body of so many times the mean size, which walks so many times 1 m/s."""
    pose = walk(1.0, 30.0, 1)
    pose.transl[..., :2] *= speed
    source.write_pose(path, pose, 30.0, unit=0.01 / size)
    return path


def test_children_are_read_on_request(tmp_path: Path, body: Body) -> None:
    file = child(tmp_path / "child.bvh", 0.6)
    with pytest.raises(InputError, match=r"thigh and shin measure 48\.\d+, expected 0\.55 to 1\.15 m .*--scale"):
        source.read_one(file, body)
    found = source.read_one(file, body, min_stature=0.9)
    assert (found.provenance["metres_per_unit"], found.provenance[STATURE]) == ("0.01", "1.02")


def test_speed_decides_between_units_that_a_leg_leaves_open_or_the_user(tmp_path: Path, body: Body) -> None:
    slow, fast = child(tmp_path / "slow.bvh", 0.54), child(tmp_path / "fast.bvh", 0.54, 11.0)
    with pytest.raises(InputError, match=r"thigh and shin may be 1\.1 m in inch or 0\.44 m in cm, expected one unit"):
        source.read_one(slow, body, min_stature=0.9)
    assert source.read_one(fast, body, min_stature=0.9).provenance["metres_per_unit"] == "0.01"
    assert source.read_one(slow, body, min_stature=0.9, scale=0.01).provenance[STATURE] == "0.91"


def test_a_pair_lives_in_one_space(tmp_path: Path, body: Body) -> None:
    for name, turn in (("y", None), ("z", ABOUT_X)):
        source.write_pose(tmp_path / f"{name}.bvh", walk(1.0, 30.0, 1), 30.0, source.MOTION_BUILDER, turn=turn)
    pair = Clip("bvh/pair", "bvh", (str(tmp_path / "y.bvh"), str(tmp_path / "z.bvh")))
    with pytest.raises(InputError, match="one person stands along y and another along z, expected one space"):
        bvh.read_clip(pair, body)
