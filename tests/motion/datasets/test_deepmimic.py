"""DeepMimic's reader: made-up clips whose pose is known, the real clips, and clips that are broken."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import Body
from motion.datasets.clip import Clip
from motion.datasets.deepmimic import CAPTIONS, LEG_LENGTH_M, TO_WORLD, list_clips, read_clip
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, JOINT
from tests.helpers.sources.deepmimic import BROKEN, frame, write

LIMBS = [
    (f"{side}_{start}", f"{side}_{end}")
    for side in ("left", "right")
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
]


def read(path: Path, body: Body) -> MotionSequence:
    """Read the clip of one file."""
    return read_clip(Clip(f"deepmimic/{path.stem}", "deepmimic", (str(path),)), body)


def bundled(name: str, body: Body) -> MotionSequence:
    """Find a clip of pybullet_data."""
    [clip] = [clip for clip in list_clips() if clip.id == f"deepmimic/humanoid3d_{name}"]
    return read_clip(clip, body)


def direction(joints: np.ndarray, start: str, end: str) -> np.ndarray:
    bone = joints[..., JOINT[end], :] - joints[..., JOINT[start], :]
    return bone / np.linalg.norm(bone, axis=-1, keepdims=True)


def test_rest_pose_stands_upright_facing_x_with_arms_down(tmp_path: Path, body: Body) -> None:
    clip = read(write(tmp_path / "humanoid3d_new.txt", [frame()] * 3), body)
    joints = clip.joints[0, 0]
    for start, end in LIMBS:
        np.testing.assert_allclose(direction(joints, start, end), [0, 0, -1], atol=1e-5)
    across = direction(joints, "right_hip", "left_hip")
    assert across[1] > 0.99  # facing +x, the left is +y
    toes = joints[JOINT["left_foot"]] - joints[JOINT["left_ankle"]]
    assert toes[0] > 0.05
    assert joints[JOINT["head"], 2] > joints[0, 2] + 0.4
    assert (clip.id, clip.source, clip.split) == ("deepmimic/humanoid3d_new", "deepmimic", "train")
    assert clip.fps == 30
    assert clip.texts == []


def test_knees_bend_backward_and_elbows_forward(tmp_path: Path, body: Body) -> None:
    joints = read(write(tmp_path / "a.txt", [frame(knee=-1.0, elbow=1.0)] * 2), body).joints[0, 0]
    for side in ("left", "right"):
        shin, forearm = (
            direction(joints, f"{side}_knee", f"{side}_ankle"),
            direction(joints, f"{side}_elbow", f"{side}_wrist"),
        )
        np.testing.assert_allclose(shin, [-math.sin(1), 0, -math.cos(1)], atol=1e-5)
        np.testing.assert_allclose(forearm, [math.sin(1), 0, -math.cos(1)], atol=1e-5)


def test_chest_rotation_is_shared_by_the_spine(tmp_path: Path, body: Body) -> None:
    turned = [math.cos(0.3), 0.0, math.sin(0.3), 0.0]  # 0.6 rad about the upward axis: to the left
    clip = read(write(tmp_path / "a.txt", [frame(chest=turned)] * 2), body)
    for name in ("spine1", "spine2", "spine3"):
        matrix = clip.body_pose[0, 0, JOINT[name] - 1]
        assert math.acos((np.trace(matrix) - 1) / 2) == pytest.approx(0.2, abs=1e-4)
    shoulders = direction(clip.joints[0, 0], "right_shoulder", "left_shoulder")
    assert shoulders[:2] == pytest.approx([-math.sin(0.6), math.cos(0.6)], abs=0.02)


def test_root_rotation_turns_and_path_is_scaled_to_the_legs(tmp_path: Path, body: Body) -> None:
    left_turn = [math.cos(math.pi / 4), 0.0, math.sin(math.pi / 4), 0.0]
    frames = [frame(position=(t / 10, 0.85, -t / 5), root=left_turn) for t in range(5)]
    clip = read(write(tmp_path / "a.txt", frames), body)
    forward = clip.global_orient[0, 0, :, 2]
    np.testing.assert_allclose(forward, [0, 1, 0], atol=1e-5)
    legs = sum(np.linalg.norm(clip.joints[0, 0, a] - clip.joints[0, 0, b]) for a, b in ((1, 4), (4, 7)))
    step = np.diff(clip.joints[0, :, 0], axis=0)
    np.testing.assert_allclose(step, np.tile([0.1, 0.2, 0], (4, 1)) * legs / LEG_LENGTH_M, atol=1e-5)


def test_uneven_durations_are_resampled_to_the_median(tmp_path: Path, body: Body) -> None:
    durations = [0.05, 0.05, 0.1, 0.05, 0.0]
    times = np.concatenate([[0], np.cumsum(durations)])[:5]
    frames = [frame(d, position=(float(t), 0.85, 0.0)) for d, t in zip(durations, times, strict=True)]
    clip = read(write(tmp_path / "a.txt", frames), body)
    assert clip.fps == 20
    assert clip.num_frames == 6
    speeds = np.diff(clip.joints[0, :, 0, 0])
    np.testing.assert_allclose(speeds, speeds[0], atol=1e-5)


def test_a_single_frame_is_a_clip(tmp_path: Path, body: Body) -> None:
    assert read(write(tmp_path / "a.txt", [frame(0.0)]), body).num_frames == 1


def test_each_caption_is_its_own() -> None:
    captions = [text for texts in CAPTIONS.values() for text in texts]
    assert len(set(captions)) == len(captions) > 3 * len(CAPTIONS)


def test_all_clips_of_pybullet_rest_on_the_floor(body: Body) -> None:
    pytest.importorskip("pybullet_data")
    clips = [read_clip(clip, body) for clip in list_clips()]
    assert len(clips) == 15
    for clip in clips:
        assert clip.texts == list(CAPTIONS[clip.id.removeprefix("deepmimic/")])
        assert clip.provenance["caption_by"] == "carescene"
        lowest = body.vertices(clip.parameters[:, ::4])[0, ..., 2].amin(dim=-1)
        assert lowest.min() > -0.07, clip.id  # the roll's worst instant sinks 5.8 cm
        assert lowest.quantile(0.25).abs() < 0.03, clip.id  # most of a run is flight


def test_the_walk_is_upright_and_forward(body: Body) -> None:
    pytest.importorskip("pybullet_data")
    clip = bundled("walk", body)
    joints, orient = clip.joints[0], clip.global_orient[0]
    assert orient[:, 2, 1].min() > 0.95  # the pelvis' upward axis stays upright
    way = joints[-1, 0] - joints[0, 0]
    assert way @ orient[:, :, 2].mean(axis=0) > 0.9 * np.linalg.norm(way) > 0.9
    assert (joints[:, JOINT["head"], 2] > joints[:, 0, 2] + 0.4).all()


def test_the_get_up_starts_on_the_back_and_ends_standing(body: Body) -> None:
    pytest.importorskip("pybullet_data")
    clip = bundled("getup_faceup", body)
    assert clip.global_orient[0, 0, 2, 2] > 0.9  # the belly looks up
    assert clip.joints[0, 0, JOINT["head"], 2] < 0.4
    assert clip.joints[0, -1, JOINT["head"], 2] > 1.3


def test_only_the_crawl_is_a_teton_action(body: Body) -> None:
    pytest.importorskip("pybullet_data")
    actions = {name: set(bundled(name, body).action.flat) for name in ("crawl", "walk")}
    assert actions == {"crawl": {ACTIONS.index("crawling")}, "walk": {0}}


def test_golden_bone_directions_and_path(shared_data: Path, body: Body) -> None:
    """Limbs point as DeepMimic's own forward kinematics says: measured 0.03 degrees at most (float32)."""
    golden = np.load(shared_data / "deepmimic" / "deepmimic_positions.npz")
    column = {name: k for k, name in enumerate(golden["joint_names"])}
    rest = body.rest_joints(torch.zeros(1, 10))[0]
    legs = float((rest[1] - rest[4]).norm() + (rest[4] - rest[7]).norm())
    for clip in list_clips(shared_data / "deepmimic" / "motions"):
        path = Path(clip.files[0])
        if path.stem == "humanoid3d_roll":  # one of its frames is longer, so it is resampled
            continue
        joints = read(path, body).joints[0]
        expected = golden[f"{path.stem}|pos_m"] @ TO_WORLD.numpy().T
        for start, end in LIMBS:
            bone = expected[:, column[end]] - expected[:, column[start]]
            bone /= np.linalg.norm(bone, axis=-1, keepdims=True)
            apart = np.linalg.norm(direction(joints, start, end) - bone, axis=-1)
            assert np.degrees(apart.max()) < 0.1, (path.stem, start)
        hips = (joints[:, JOINT["left_hip"]] + joints[:, JOINT["right_hip"]]) / 2
        offset = hips - legs / LEG_LENGTH_M * expected[:, 0]
        np.testing.assert_allclose(offset[:, :2], 0, atol=1e-4)
        assert np.ptp(offset[:, 2]) < 0.2, path.stem  # the floor under our thicker body: measured 0.17 m


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_clip_is_named_in_one_sentence(case: str, tmp_path: Path, body: Body) -> None:
    content, message = BROKEN[case]
    path = tmp_path / "broken.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path, body)
    assert str(path) in str(caught.value)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_files(tmp_path: Path, body: Body) -> None:
    with pytest.raises(InputError, match=r"none.txt: cannot be read \(No such file"):
        read(tmp_path / "none.txt", body)
    (tmp_path / "text.txt").write_bytes(b"\xff{")
    with pytest.raises(InputError, match="is not JSON"):
        read(tmp_path / "text.txt", body)
    with pytest.raises(InputError, match="holds no humanoid3d"):
        list_clips(tmp_path)


def test_without_pybullet_data_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install carescene\[demo\]"):
        list_clips()
