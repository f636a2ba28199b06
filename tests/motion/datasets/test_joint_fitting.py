"""Fit of a body to any source's joints: own proportions come back, others keep directions, path and floor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion.body import load_body
from motion.clips.sanity import STATURE
from motion.datasets import deepmimic
from motion.datasets.joint_fitting import NEEDED, fit_files, fit_joints, stature, stature_note
from motion.errors import InputError
from motion.kinematics import forward_kinematics
from motion.skeleton import BONES, JOINT, JOINT_NAMES
from motion.smpl_parameters import SmplParameters
from tests.helpers.clips import smooth_pose
from tests.helpers.sources.positions import SOURCES, degrees_apart, directions, hips, jitter, pick

BODY = load_body()


def posed(persons: int, frames: int, seed: int, size: float = 0.3, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Make joints of persons of random shape who move smoothly beside each other; also return their betas."""
    generator = torch.Generator().manual_seed(seed)
    betas = spread * torch.randn(persons, 10, generator=generator).clamp(-2, 2)
    pose = smooth_pose(persons, frames, size, generator)
    path = torch.linspace(0, 2, frames)[:, None] * torch.tensor([1.0, 0.5, 0.0]) + torch.tensor([0.0, 0.0, 0.9])
    transl = path + torch.arange(persons)[:, None, None] * torch.tensor([0.0, 1.0, 0.0])
    return SmplParameters(transl, pose[:, :, 0], pose[:, :, 1:], betas).joints(BODY), betas


def lengths(betas: Tensor) -> Tensor:
    rest = BODY.rest_joints(betas)
    return torch.stack([(rest[:, a] - rest[:, b]).norm(dim=-1) for a, b in BONES], dim=-1)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0, 0.6), st.floats(0, 1.3))
def test_own_proportions_come_back(seed: int, size: float, spread: float) -> None:
    joints, betas = posed(2, 13, seed, size, spread)
    pose = fit_joints(joints, JOINT_NAMES, BODY)
    assert (lengths(pose.betas) - lengths(betas)).abs().max() < 1e-3
    assert (pose.joints(BODY) - joints).norm(dim=-1).mean() < 0.01


def test_real_motion_comes_back_whichever_joints_are_known() -> None:
    """All 24 joints come back within 10 mm; without trunk, head, hands and feet, the known ones within 25 mm."""
    for clip in deepmimic.list_clips()[::4]:
        joints = torch.from_numpy(deepmimic.read_clip(clip, BODY).joints)
        assert (fit_joints(joints, JOINT_NAMES, BODY).joints(BODY) - joints).norm(dim=-1).mean() < 0.01
        names = sorted(NEEDED)
        pose = fit_joints(pick(joints, names), names, BODY)
        assert (pick(pose.joints(BODY), names) - pick(joints, names)).norm(dim=-1).mean() < 0.025, clip.id


def test_a_pelvis_left_out_is_placed_above_the_hips() -> None:
    joints, _ = posed(1, 9, seed=1, size=0.05)
    names = [name for name in JOINT_NAMES if name != "pelvis"]
    pose = fit_joints(pick(joints, names), names, BODY)
    assert (pose.joints(BODY) - joints).norm(dim=-1).mean() < 0.02


def test_what_a_source_lacks_keeps_still() -> None:
    joints, _ = posed(1, 9, seed=2)
    pose = fit_joints(pick(joints, sorted(NEEDED)), sorted(NEEDED), BODY)
    for name in ("neck", "head", "left_ankle", "right_ankle", "left_wrist", "right_wrist", "left_hand", "right_foot"):
        torch.testing.assert_close(
            pose.body_pose[:, :, JOINT[name] - 1], torch.eye(3).expand(1, 9, 3, 3), atol=1e-4, rtol=0
        )


def test_the_order_of_the_joints_does_not_matter() -> None:
    joints, _ = posed(1, 5, seed=3)
    names = list(JOINT_NAMES[::-1])
    torch.testing.assert_close(
        fit_joints(pick(joints, names), names, BODY).joints(BODY), fit_joints(joints, JOINT_NAMES, BODY).joints(BODY)
    )


def test_persons_do_not_influence_each_others_pose_and_shape() -> None:
    joints, _ = posed(2, 5, seed=4)
    pose, alone = (fit_joints(some, JOINT_NAMES, BODY) for some in (joints, joints[1:]))
    torch.testing.assert_close(pose.betas[1:], alone.betas)
    torch.testing.assert_close(pose.body_pose[1:], alone.body_pose, atol=1e-4, rtol=0)


def test_turned_and_shifted_joints_give_a_turned_and_shifted_body() -> None:
    """Giants are included, whose path is scaled about where they start."""
    joints = 1.4 * posed(1, 9, seed=5)[0]
    turn, shift = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), torch.tensor([5.0, -3.0, 0.0])
    pose, moved = (fit_joints(some, JOINT_NAMES, BODY) for some in (joints, joints @ turn.T + shift))
    torch.testing.assert_close(moved.betas, pose.betas, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.joints(BODY), pose.joints(BODY) @ turn.T + shift, atol=1e-3, rtol=0)


def test_giants_walk_in_proportion_and_still_meet() -> None:
    """Two persons have twice the size: shape stays human, and path, floor and distance shrink with the legs."""
    joints, _ = posed(2, 30, seed=6, size=0.1, spread=0.0)
    pose = fit_joints(2 * joints, JOINT_NAMES, BODY)
    assert pose.betas.abs().max() <= 3
    names = list(JOINT_NAMES)
    rest, own = BODY.rest_joints(pose.betas)[0], BODY.rest_joints(torch.zeros(10))
    ratio = (rest[1] - rest[4]).norm() + (rest[4] - rest[7]).norm()
    ratio = ratio / ((own[1] - own[4]).norm() + (own[4] - own[7]).norm()) / 2
    found, seen = hips(pose.joints(BODY), names), 2 * hips(joints, names)
    torch.testing.assert_close(found.diff(dim=1), ratio * seen.diff(dim=1), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[0] - found[1], ratio * (seen[0] - seen[1]), atol=1e-3, rtol=0)
    floor, own_floor = pose.joints(BODY)[..., 2].amin(dim=(1, 2)), 2 * joints[..., 2].amin(dim=(1, 2))
    assert (floor - ratio * own_floor).abs().max() < 0.05


def test_stature_is_that_of_the_source_and_no_human_has_any() -> None:
    """Toddlers are fitted by the smallest body, which is larger; so what is written down is their own size."""
    joints, _ = posed(2, 5, seed=6, size=0.0, spread=0.0)
    tall = BODY.stature(torch.zeros(10))
    sizes = torch.tensor([0.5, 1.2])
    torch.testing.assert_close(stature(sizes[:, None, None, None] * joints, JOINT_NAMES, BODY), sizes * tall)
    assert stature_note(joints[:1], JOINT_NAMES, BODY) == {STATURE: "1.69"}
    fit_files(["a"], 0.5 * joints, JOINT_NAMES, BODY)
    for size, metres in ((100, "169"), (0.1, r"0\.169")):
        with pytest.raises(InputError, match=rf"a, b: person 1 is {metres} m tall, expected a human"):
            fit_files(["a", "b"], size * joints, JOINT_NAMES, BODY)


def test_one_frame_is_enough() -> None:
    joints, _ = posed(1, 1, seed=7)
    pose = fit_joints(joints, JOINT_NAMES, BODY)
    assert (pose.joints(BODY) - joints).norm(dim=-1).max() < 0.01


def test_unreachable_proportions_do_not_make_monsters() -> None:
    """Lengths no shape has are fitted with plausible betas, not with extreme ones for the last millimetre."""
    joints, _ = posed(1, 9, seed=8, spread=0.0)
    pose = torch.eye(3).repeat(1, 9, 24, 1, 1)
    stretch = torch.ones(24, 1)
    stretch[[JOINT["left_knee"], JOINT["right_knee"]]] = 1.25
    offsets = BODY.rest_joints(torch.zeros(10))
    rest = offsets.clone()
    for parent, child in BONES:
        rest[child] = rest[parent] + stretch[child] * (offsets[child] - offsets[parent])
    joints = forward_kinematics(rest.expand(1, 9, 24, 3), torch.zeros(1, 9, 3), pose)[0]
    assert fit_joints(joints, JOINT_NAMES, BODY).betas.abs().max() < 2


def broken(change: str) -> tuple[Tensor, list[str]]:
    """Spoil joints and names in one way that the fit must refuse."""
    joints, names = posed(1, 4, seed=9)[0], list(JOINT_NAMES)
    match change:
        case "nan":
            joints[0, 2, 5, 1] = float("nan")
        case "infinite":
            joints[0, 2, 5, 1] = float("inf")
        case "thigh":
            joints[0, 3, JOINT["left_knee"]] = joints[0, 3, JOINT["left_hip"]]
        case "trunk":
            joints[0, 1, JOINT["neck"]] = hips(joints, names)[0, 1]
        case "missing":
            joints, names = joints[:, :, 1:-4], names[1:-4]
        case "unknown":
            names[3] = "tail"
        case "count":
            names = names[:-1]
    return joints, names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nan", "NaN or infinity"),
        ("infinite", "NaN or infinity"),
        ("thigh", "from left_hip to left_knee is 0 in frame 3"),
        ("trunk", "trunk's extent across the hips is .* in frame 1"),
        ("missing", "left_wrist, right_wrist are missing"),
        ("unknown", "tail"),
        ("count", "expected 24 different ones"),
    ],
)
def test_bad_joints_are_refused_in_one_sentence(change: str, message: str) -> None:
    joints, names = broken(change)
    with pytest.raises(InputError, match=message):
        fit_joints(joints, names, BODY)


@pytest.mark.parametrize("name", SOURCES)
def test_real_sources_keep_their_motion(name: str, shared_data: Path) -> None:
    """Bones stay within 4 degrees; so do the path of the hips after one scale, standing feet's heights, and jitter."""
    angles, ratios = [], []
    for positions, names in SOURCES[name].clips(shared_data):
        pose = fit_joints(positions, names, BODY)
        found = pick(pose.joints(BODY), names)
        angles.append(degrees_apart(directions(found, names), directions(positions, names)).mean())
        ratios.append(jitter(found) / jitter(positions))
        assert pose.betas.abs().max() < 3
        seen, kept = (hips(joints, names)[..., :2] for joints in (positions, found))
        seen, kept = seen - seen[:, :1], kept - kept[:, :1]
        scale = (seen * kept).sum() / seen.square().sum()
        assert 0.85 < scale < 1.15
        assert (kept - scale * seen).norm(dim=-1).max() < 0.01
        feet = [names.index(joint) for joint in ("left_ankle", "right_ankle")]
        low = positions[:, :, feet, 2] < positions[:, :, feet, 2].quantile(0.1) + 0.03
        assert (found - positions)[:, :, feet, 2][low].std() < 0.03
    assert torch.stack(angles).mean() < 4
    assert np.mean(ratios) < 1.1
