"""HumanML3D's 263 numbers and back: identities, the authors' own numbers, an official clip."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.representations import (
    bone_lengths,
    encode_263,
    humanml3d_263,
    joints_from_263,
    joints_from_263_rotations,
    uniform_skeleton,
)
from tests.helpers.clips import random_clip
from tests.helpers.golden import assert_near, load, matrix_from_wxyz, y_up, z_up
from tests.helpers.representations import BODY, any_clip, assert_same_up_to_start, build, turning_clip, without_heights


@given(**any_clip)
@settings(max_examples=30)
def test_record_to_humanml3d_and_back(persons: int, frames: int, turns: float | None, seed: int) -> None:
    """Positions and rotations both give the record's joints of each person, wherever and whichever way they turn."""
    clip = build(persons, frames, turns, seed)
    features = humanml3d_263(clip)
    assert features.shape == (clip.num_persons, clip.num_frames - 1, 263)
    expected = without_heights(torch.from_numpy(clip.joints[:, :, :22]))[:, :-1]
    for person, joints in enumerate(joints_from_263(features)):
        assert_same_up_to_start(joints, expected[person])
        torch.testing.assert_close(joints[0, 0, :2], torch.zeros(2), atol=1e-6, rtol=0)
        lengths = bone_lengths(torch.from_numpy(clip.joints[person, 0, :22]))
        torch.testing.assert_close(joints_from_263_rotations(features[person], lengths), joints, atol=1e-4, rtol=0)


@pytest.mark.parametrize("turns", [0.9, -0.9])
def test_a_turn_past_the_back_keeps_its_sign(turns: float) -> None:
    """HumanML3D's own arcsine would flip one number; to the right is positive."""
    clip = turning_clip(persons=1, frames=120, fps=20.0, turns=turns)
    half_turns = humanml3d_263(clip)[0, 1:, 0]
    assert (torch.sign(half_turns) == -np.sign(turns)).all()
    assert 2 * half_turns.sum() == pytest.approx(-2 * math.pi * turns, rel=0.35), "smoothing shortens the ends"


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_uniform_skeleton_changes_lengths_only(seed: int) -> None:
    joints = torch.from_numpy(random_clip(BODY, 1, 5, seed).joints[0, :, :22])
    own, other = (
        bone_lengths(joints[0]),
        bone_lengths(torch.from_numpy(random_clip(BODY, 1, 1, seed + 1).joints[0, 0, :22])),
    )
    torch.testing.assert_close(uniform_skeleton(joints, own), joints, atol=1e-5, rtol=0)
    changed = uniform_skeleton(joints, other)
    torch.testing.assert_close(bone_lengths(changed), other.expand(5, -1), atol=1e-5, rtol=0)
    shin, shin_before = changed[:, 7] - changed[:, 4], joints[:, 7] - joints[:, 4]
    torch.testing.assert_close(torch.cosine_similarity(shin, shin_before), torch.ones(5))
    torch.testing.assert_close(uniform_skeleton(changed, own), joints, atol=1e-5, rtol=0)


def test_humanml3d_on_other_bones() -> None:
    clip = turning_clip(persons=2, frames=6, fps=20.0, turns=0.1)
    lengths = 1.1 * bone_lengths(torch.from_numpy(clip.joints[0, 0, :22]))
    joints = joints_from_263(humanml3d_263(clip, lengths))
    torch.testing.assert_close(bone_lengths(joints), lengths.expand(2, 5, -1), atol=1e-5, rtol=0)


def test_golden_humanml3d(golden: Path) -> None:
    reference = load(golden / "humanml3d" / "synthetic.npz")
    lengths = bone_lengths(reference["target_joints"][0])
    assert_near(lengths, reference["target_offsets"].norm(dim=-1))
    uniform = uniform_skeleton(z_up(reference["joints_in"]), lengths)
    assert_near(uniform, z_up(reference["uniform_skeleton"]))
    features = encode_263(uniform)
    assert_near(features, reference["features263"])
    assert_near(joints_from_263(features), z_up(reference["global_positions"][:-1]))
    local = features[:, 4:67].unflatten(-1, (21, 3))
    assert_near(local, reference["local_positions"][:-1, 1:])


def test_golden_humanml3d_back(golden: Path) -> None:
    reference = load(golden / "humanml3d" / "synthetic.npz")
    features, lengths = reference["features263"], reference["target_offsets"].norm(dim=-1)
    joints = joints_from_263(features)
    assert_near(joints, z_up(reference["recover_from_ric"]))
    assert_near(joints[:, 0], z_up(reference["recover.root_pos"]))
    # Their quaternion takes the world to the heading's frame, in which the other joints are stored.
    seen = (
        y_up(joints[:, 1:] - joints[:, :1] * torch.tensor([1, 1, 0]))
        @ matrix_from_wxyz(reference["recover.root_quat"]).mT
    )
    assert_near(seen, features[:, 4:67].unflatten(-1, (21, 3)))
    assert_near(joints_from_263_rotations(features, lengths), z_up(reference["recover_from_rot"]))


def test_official_humanml3d_clip(shared_data: Path) -> None:
    """The clip's numbers give its joints; its joints give its numbers, but for the smoothing at the end.

    The official joints are one frame short of those that were encoded.
    """
    folder = shared_data / "humanml3d_sample"
    features = torch.from_numpy(np.load(folder / "new_joint_vecs_012314.npy"))
    joints = z_up(torch.from_numpy(np.load(folder / "new_joints_012314.npy")))
    torch.testing.assert_close(joints_from_263(features), joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(encode_263(joints)[:80], features[:80], atol=1e-4, rtol=0)
    lengths = bone_lengths(joints[0])
    torch.testing.assert_close(joints_from_263_rotations(features, lengths), joints, atol=1e-3, rtol=0)
