"""BVH: all layouts and units, pairs, T-poses, captions, real samples, and damage of all kinds."""

import math
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import Body
from motion.datasets import bvh
from motion.datasets.bvh_names import LAYOUTS, Layout
from motion.datasets.clip import Clip
from motion.errors import InputError
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import FEET, JOINT
from motion.smpl_parameters import SmplParameters
from tests.helpers.sources import bvh as source
from tests.helpers.sources.humanml3d import walk


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bvh")
    source.write_dataset(folder)
    return folder


def clips(folder: Path) -> dict[str, Clip]:
    return {clip.id.removeprefix("bvh/"): clip for clip in bvh.list_clips(folder)}


def test_lists_files_pairs_and_described_spans(tmp_path: Path) -> None:
    expected = source.write_dataset(tmp_path)
    found = bvh.list_clips(tmp_path)
    assert [clip.id for clip in found] == expected
    by_id = {clip.id.removeprefix("bvh/"): clip for clip in found}
    assert [Path(file).name for file in by_id["cmu/60_01+61_01"].files] == ["60_01.bvh", "61_01.bvh"]
    span = by_id["bandai/walk_old_001@0.5-1.5"]
    assert (span.texts, span.start, span.stop) == (("the left knee bends",), 0.5, 1.5)


def test_a_folder_without_files_or_with_a_bad_list_of_pairs_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no motion, expected \.bvh files"):
        bvh.list_clips(tmp_path)
    source.write_dataset(tmp_path)
    for text in ("first,second\na.bvh,b.bvh\n", "person1,person2\na.bvh\n"):
        (tmp_path / "pairs.csv").write_text(text)
        with pytest.raises(InputError, match=r"pairs\.csv: cannot be read .*expected columns person1,person2"):
            bvh.list_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "seconds", "fps", "seed", "layout"),
    [
        ("bandai/walk_old_001", 2.0, 30.0, 1, source.BANDAI_NAMCO),
        ("mixamo", 1.0, 60.0, 3, source.MOTION_BUILDER),
        ("cmu/02_01", 1.0, 120.0, 4, source.MOTION_BUILDER),
    ],
)
def test_reads_each_layout_and_unit(
    dataset: Path, body: Body, name: str, seconds: float, fps: float, seed: int, layout: str
) -> None:
    record = bvh.read_clip(clips(dataset)[name], body)
    wanted = walk(seconds, fps, seed).joints(body).numpy()
    assert (record.source, record.fps, record.num_frames) == ("bvh", fps, round(seconds * fps))
    assert record.provenance["joint_names"] == layout
    assert np.linalg.norm(source.level(record.joints) - source.level(wanted), axis=-1).max() < 0.02


def test_a_described_span_is_that_part_of_the_motion(dataset: Path, body: Body) -> None:
    record = bvh.read_clip(clips(dataset)["bandai/walk_old_001@0.5-1.5"], body)
    wanted = walk(2.0, 30.0, 1).joints(body).numpy()[:, 15:45]
    assert record.texts == ["the left knee bends"]
    assert np.linalg.norm(source.level(record.joints) - source.level(wanted), axis=-1).max() < 0.02


def test_a_pair_is_one_record_on_one_scale(dataset: Path, body: Body) -> None:
    record = bvh.read_clip(clips(dataset)["cmu/60_01+61_01"], body)
    wanted = torch.cat([walk(1.0, 120.0, seed).joints(body) for seed in (5, 6)]).numpy()
    metres = float(record.provenance["metres_per_unit"])
    assert record.num_persons == 2
    gap, own_gap = (joints[0, :, 0] - joints[1, :, 0] for joints in (wanted, record.joints))
    assert np.linalg.norm(gap / 1.31 * metres - own_gap, axis=-1).mean() < 0.05


def with_t_pose(path: Path, layout: str, count: int) -> None:
    """Put a T-pose at the origin before the walk, as cgspeed did, smeared over so many frames."""
    source.write_pose(path, walk(0.5, 120.0, 0), 120.0, layout)
    rate = f"Frame Time: {1 / 120:.7f}\n"
    head, rows = path.read_text(encoding="utf-8").replace("Frames: 60", f"Frames: {60 + count}").split(rate)
    first = np.array(rows.splitlines()[0].split(), dtype=float)
    smeared = [" ".join(f"{number:.6f}" for number in step / count * first) for step in range(count)]
    path.write_text(head + rate + "\n".join([*smeared, rows]), encoding="utf-8")


@pytest.mark.parametrize("count", [1, 3])
def test_the_t_pose_before_a_capture_is_left_out(tmp_path: Path, body: Body, count: int) -> None:
    with_t_pose(tmp_path / "clip.bvh", source.MOTION_BUILDER, count)
    source.write_pose(tmp_path / "plain.bvh", walk(0.5, 120.0, 0), 120.0, source.MOTION_BUILDER)
    record, plain = (bvh.read_clip(clips(tmp_path)[name], body) for name in ("clip", "plain"))
    assert (record.provenance["t_pose_frames"], plain.provenance["t_pose_frames"]) == (str(count), "0")
    np.testing.assert_allclose(record.joints, plain.joints, atol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
def test_a_t_pose_of_either_person_is_left_out_for_both(tmp_path: Path, body: Body, first: int) -> None:
    with_t_pose(tmp_path / f"{first}.bvh", source.POSER, 3)
    source.write_pose(tmp_path / f"{1 - first}.bvh", walk(63 / 120, 120.0, 1), 120.0, source.POSER)
    (tmp_path / "pairs.csv").write_text("person1,person2\n0.bvh,1.bvh\n")
    record = bvh.read_clip(clips(tmp_path)["0+1"], body)
    assert (record.provenance["t_pose_frames"], record.num_frames) == ("3", 60)


def test_a_capture_that_starts_with_arms_out_is_whole(tmp_path: Path, body: Body) -> None:
    names = ["Hips", *LAYOUTS[source.BANDAI_NAMCO].joints.values()]
    at = body.rest_joints(torch.zeros(10)).numpy()
    offsets = 100 * np.stack([at[0], *(at[JOINT[joint]] - at[0] for joint in LAYOUTS[source.BANDAI_NAMCO].joints)])
    still = np.tile(np.eye(3), (8, len(names), 1, 1))
    root = np.linspace(0, 5, 8)[:, None] * np.array([0, 0, 1])
    source.write_bvh(tmp_path / "clip.bvh", names, [-1, *[0] * (len(names) - 1)], offsets, still, root, 30.0)
    record = bvh.read_clip(clips(tmp_path)["clip"], body)
    assert (record.provenance["t_pose_frames"], record.num_frames) == ("0", 8)


def nod() -> SmplParameters:
    """Walk while head and feet turn of themselves."""
    phase = torch.arange(60) / 10
    pose = walk(2.0, 30.0, 0)
    turns = {"neck": (0.3, 0.0), "head": (0.2, 0.5), "left_ankle": (0.25, 0.0), "right_ankle": (-0.25, 0.0)}
    for joint, (nods, shakes) in turns.items():
        angles = torch.stack([nods * phase.sin(), shakes * phase.cos(), 0 * phase], dim=1)
        pose.body_pose[0, :, JOINT[joint] - 1] = matrix_from_axis_angle(angles)
    return pose


def global_rotations(parameters: SmplParameters, body: Body) -> np.ndarray:
    return parameters.kinematics(body)[1].numpy()


def angles_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute degrees between unit vectors."""
    return np.degrees(2 * np.arcsin(np.linalg.norm(first - second, axis=-1).clip(0, 2) / 2))


def own_axes(layout: str) -> dict[str, np.ndarray]:
    """Return the axes that a layout says its joints have; for other joints some that lay the zero pose on its side."""
    lying = {joint: np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]) for joint in JOINT}
    known = {joint: [np.array(axis) for axis in axes] for joint, axes in LAYOUTS[layout].upright.items()}
    return lying | {joint: np.stack([np.cross(up, ahead), up, ahead], axis=1) for joint, (up, ahead) in known.items()}


def astride() -> dict[str, np.ndarray]:
    """Return the axes of CMU's skeletons, whose zero pose stands with legs 20 degrees apart from upright."""
    legs = {}
    for side, sign in (("left", 1), ("right", -1)):
        turn = matrix_from_axis_angle(torch.tensor([0.0, 0.0, sign * math.radians(20)])).numpy()
        legs |= {f"{side}_{joint}": turn for joint in ("hip", "knee", "ankle", "foot")}
    return legs


@pytest.mark.parametrize(
    ("layout", "frames"),
    [
        (source.MOTION_BUILDER, {}),
        (source.MOTION_BUILDER, astride()),
        (source.BANDAI_NAMCO, own_axes(source.BANDAI_NAMCO)),
    ],
    ids=["t_pose", "astride", "lying"],
)
def test_head_and_feet_turn_as_in_the_file(
    tmp_path: Path, body: Body, layout: str, frames: dict[str, np.ndarray]
) -> None:
    pose = nod()
    # as other skeletons have them: the head straight above the neck, the toes far below the ankle
    bones = {"head": (0.0, 0.1, 0.0), "left_foot": (0.0, -0.075, 0.09), "right_foot": (0.0, -0.075, 0.09)}
    source.write_pose(tmp_path / "clip.bvh", pose, 30.0, layout, bones=bones, frames=frames)
    record = bvh.read_clip(clips(tmp_path)["clip"], body)
    assert record.provenance["head_and_feet"] == "turned as in the file"
    wanted, ours = global_rotations(pose, body), global_rotations(record.parameters, body)
    head = JOINT["head"]
    for axis in range(3):
        assert angles_between(ours[..., head, :, axis], wanted[..., head, :, axis]).max() < 0.2
    assert angles_between(ours[..., JOINT["neck"], :, 2], wanted[..., JOINT["neck"], :, 2]).max() < 4
    for foot in ("left_ankle", "right_ankle"):
        assert angles_between(ours[..., JOINT[foot], :, 2], wanted[..., JOINT[foot], :, 2]).max() < 4


def test_head_and_feet_stay_where_the_file_has_them_if_nothing_tells_how_they_turn(tmp_path: Path, body: Body) -> None:
    pose = nod()
    source.write_pose(tmp_path / "clip.bvh", pose, 30.0, source.MOTION_BUILDER, frames=own_axes(source.MOTION_BUILDER))
    record = bvh.read_clip(clips(tmp_path)["clip"], body)
    assert record.provenance["head_and_feet"] == "where the file has them"
    assert np.linalg.norm(source.level(record.joints) - source.level(pose.joints(body).numpy()), axis=-1).max() < 0.02


@pytest.mark.parametrize("layout", [source.BIOVISION, *source.OTHERS])
def test_every_family_of_names_is_read(tmp_path: Path, body: Body, layout: str) -> None:
    pose = walk(0.5, 30.0, 1)
    source.write_pose(tmp_path / "clip.bvh", pose, 30.0, layout)
    found = source.read_one(tmp_path / "clip.bvh", body)
    assert (found.provenance["joint_names"], found.provenance["neck"]) == (layout, "the file's")
    assert np.linalg.norm(source.level(found.joints) - source.level(pose.joints(body).numpy()), axis=-1).max() < 0.02


@pytest.mark.parametrize("frames", [{}, own_axes("Poser (cgspeed)")], ids=["t_pose", "lying"])
def test_a_neck_is_made_up_where_there_is_none(tmp_path: Path, body: Body, frames: dict[str, np.ndarray]) -> None:
    pose = walk(1.0, 30.0, 1)
    source.write_pose(tmp_path / "clip.bvh", pose, 30.0, source.BIOVISION, frames=frames)
    text = (tmp_path / "clip.bvh").read_text(encoding="utf-8")
    (tmp_path / "bare.bvh").write_text(text.replace("JOINT Neck\n", "JOINT Cervical\n"), encoding="utf-8")
    found, whole = (source.read_one(tmp_path / name, body) for name in ("bare.bvh", "clip.bvh"))
    assert found.provenance["neck"] == "made up"
    assert np.linalg.norm(source.level(found.joints) - source.level(whole.joints), axis=-1).max() < 0.01


def test_no_neck_is_made_up_of_a_line(tmp_path: Path, body: Body) -> None:
    names = ["Hips", *(name for joint, name in LAYOUTS[source.BIOVISION].joints.items() if joint != "neck")]
    along_x = np.outer(np.arange(len(names)), [10.0, 0.0, 0.0])
    still = np.tile(np.eye(3), (5, len(names), 1, 1))
    parents = [-1] + [0] * (len(names) - 1)
    source.write_bvh(tmp_path / "line.bvh", names, parents, along_x, still, np.zeros((5, 3)), 30.0)
    with pytest.raises(InputError, match=r"line\.bvh: has no neck, and hips and shoulders on one line"):
        source.read_one(tmp_path / "line.bvh", body)


def test_names_of_ones_own_are_read(tmp_path: Path, body: Body) -> None:
    pose = walk(0.5, 30.0, 1)
    source.write_pose(tmp_path / "clip.bvh", pose, 30.0, source.BIOVISION)
    text = (tmp_path / "clip.bvh").read_text(encoding="utf-8").replace("JOINT ", "JOINT my")
    (tmp_path / "clip.bvh").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="it lacks LeftAnkle, LeftElbow"):
        source.read_one(tmp_path / "clip.bvh", body)
    own = Layout({joint: f"my{name}" for joint, name in LAYOUTS[source.BIOVISION].joints.items()})
    found = source.read_one(tmp_path / "clip.bvh", body, names=own)
    assert np.linalg.norm(source.level(found.joints) - source.level(pose.joints(body).numpy()), axis=-1).max() < 0.02


def test_two_roots_are_two_persons(tmp_path: Path, body: Body) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        source.write_pose(
            tmp_path / f"{name}.bvh", walk(1.0, 30.0, seed), 30.0, source.MOTION_BUILDER, prefix=f"{name}:"
        )
    first, second = ((tmp_path / name).read_text().split("MOTION\n") for name in ("a.bvh", "b.bvh"))
    heads, rows = zip(*(motion.split("Time: ")[0:2] for motion in (first[1], second[1])), strict=True)
    time, *numbers = zip(*(text.splitlines() for text in rows), strict=True)
    text = first[0] + second[0].removeprefix("HIERARCHY\n") + f"MOTION\n{heads[0]}Time: {time[0]}\n"
    both = tmp_path / "both.bvh"
    both.write_text(text + "\n".join(" ".join(row) for row in numbers) + "\n")
    pair = Clip("bvh/pair", "bvh", tuple(str(tmp_path / name) for name in ("a.bvh", "b.bvh")))
    expected, found = bvh.read_clip(pair, body), source.read_one(both, body)
    assert found.num_persons == 2
    np.testing.assert_array_equal(found.joints, expected.joints)


def test_random_damage_never_ends_in_another_error(tmp_path: Path, body: Body, rng: np.random.Generator) -> None:
    path = tmp_path / "clip.bvh"
    source.write_pose(path, walk(0.2, 30.0, 0), 30.0)
    whole = path.read_bytes()
    clip = clips(tmp_path)["clip"]
    for length in rng.integers(0, len(whole) - 10, 60):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            bvh.read_clip(clip, body)
    for _ in range(150):
        damaged = np.frombuffer(whole, dtype=np.uint8).copy()
        damaged[rng.integers(0, len(whole), 3)] = rng.choice(np.frombuffer(b"0123456789-e. \n{}JX\xff", np.uint8), 3)
        path.write_bytes(damaged.tobytes())
        with suppress(InputError):  # one digit instead of another does no harm
            bvh.read_clip(clip, body)


def test_real_salsa_pairs_are_read_together(shared_data: Path, body: Body, tmp_path: Path) -> None:
    data = np.load(shared_data / "cmu_salsa_pairs" / "cmu_salsa_pairs_60fps.npz")
    for name in ("60_10", "61_10"):
        (tmp_path / f"{name}.bvh").symlink_to(shared_data / "cmu_salsa_pairs" / "bvh_sample" / f"{name}_scaled.bvh")
    (tmp_path / "pairs.csv").write_text("person1,person2\n60_10.bvh,61_10.bvh\n")
    record = bvh.read_clip(clips(tmp_path)["60_10+61_10"], body)
    assert (record.num_persons, record.fps) == (2, 120.0)
    names = list(data["joint_names"])
    hips = [
        data[f"{name}|pos_m"][:, [names.index("lThigh"), names.index("rThigh")]].mean(axis=1)
        for name in ("60_10", "61_10")
    ]
    wanted = np.linalg.norm(hips[0] - hips[1], axis=-1)[2:]
    # the first 3 frames are the rest of a T-pose
    assert (record.provenance["t_pose_frames"], record.provenance["head_and_feet"]) == ("3", "turned as in the file")
    ours = record.joints[:, 1::2, 1:3].mean(axis=2)[:, : len(wanted)]
    assert np.abs(np.linalg.norm(ours[0] - ours[1], axis=-1) - wanted).mean() < 0.05


def test_who_stands_in_bandai_namco_files_has_flat_soles_and_looks_ahead(
    shared_data: Path, body: Body, tmp_path: Path
) -> None:
    data = shared_data / "bandai_namco" / "bandai_namco_30fps.npz"
    assert source.write_bandai_namco(data, tmp_path, 12, "hand_normal") == 12
    gaze, soles = [], []
    for clip in bvh.list_clips(tmp_path):
        record = bvh.read_clip(clip, body)
        still = np.abs(np.gradient(record.joints[0, :, FEET], axis=1)).max(axis=(0, 2)) < 0.003
        standing = record.parameters[:, still][:, ::8]
        gaze.append(global_rotations(standing, body)[0, :, JOINT["head"], 2, 2])
        skin = body.vertices(standing)[0].numpy()
        soles.append([skin[:, part, 2].min(axis=1) for part in sole_parts(body)])
    assert sum(len(part) for part in gaze) > 80
    assert abs(np.degrees(np.arcsin(np.concatenate(gaze))).mean()) < 6
    assert np.abs(np.concatenate(soles, axis=1)).max() < 0.015


def sole_parts(body: Body) -> list[np.ndarray]:
    """Find the vertices under the heel and the ball of each foot."""
    rest, skin = body.rest_joints(torch.zeros(10)).numpy(), body.v_template.numpy()
    parts = []
    for side, joint in product(("left", "right"), ("ankle", "foot")):
        at = rest[JOINT[f"{side}_{joint}"]]
        parts.append(np.flatnonzero((np.abs(skin[:, [0, 2]] - at[[0, 2]]).max(axis=1) < 0.05) & (skin[:, 1] < at[1])))
    return parts
