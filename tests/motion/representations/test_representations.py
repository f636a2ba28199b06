"""HumanML3D's, InterGen's and SceneInterGen's representations and back."""

import math
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion.body import load_body
from motion.errors import InputError
from motion.features import NUM_FEATURES, Normalizer, decode, encode_sequence
from motion.kinematics import forward_kinematics
from motion.representations import (
    bone_lengths,
    encode_262,
    encode_263,
    encode_286,
    humanml3d_263,
    intergen_262,
    joints_from_262,
    joints_from_263,
    joints_from_263_rotations,
    mirror,
    split_492,
    uniform_skeleton,
)
from motion.rotations import matrix_from_6d, matrix_from_axis_angle, matrix_to_6d, shortest_rotation
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters
from tests.helpers.clips import random_clip

BODY = load_body()


def turning_clip(persons: int, frames: int, fps: float, turns: float, seed: int = 0) -> MotionSequence:
    """Make persons who swing their limbs and walk along a curve that turns them `turns` times about themselves."""
    generator = torch.Generator().manual_seed(seed)
    start = random_clip(BODY, persons, 1, seed)
    time = torch.linspace(0, 1, frames)
    yaw = 2 * math.pi * (torch.rand(persons, 1, generator=generator) + turns * time)
    lean = 0.1 * torch.randn(persons, 1, 3, generator=generator)
    z_up = matrix_from_axis_angle(torch.tensor([math.pi / 2, 0, 0]))
    about_z = matrix_from_axis_angle(yaw[..., None] * torch.tensor([0.0, 0, 1]))
    global_orient = about_z @ matrix_from_axis_angle(lean) @ z_up
    swing = 0.4 * torch.randn(persons, 1, 23, 3, generator=generator)
    body_pose = matrix_from_axis_angle(swing * torch.sin(9 * time + 1)[:, None, None])
    transl = torch.from_numpy(start.transl) + torch.stack([2 * yaw.sin(), yaw.cos(), 0.03 * (5 * yaw).sin()], dim=-1)
    betas = torch.from_numpy(start.betas)
    return replace(
        start,
        fps=fps,
        transl=transl.numpy(),
        global_orient=global_orient.numpy(),
        body_pose=body_pose.numpy(),
        joints=SmplParameters(transl, global_orient, body_pose, betas).joints(BODY).numpy(),
        valid=np.ones((persons, frames), dtype=np.bool_),
        action=np.zeros((persons, frames), dtype=np.int8),
    )


def without_heights(joints: Tensor) -> Tensor:
    """Put each person (first axis) with their lowest joint at 0."""
    return joints - joints[..., 2].amin(dim=(1, 2))[:, None, None, None] * torch.tensor([0, 0, 1])


def assert_same_up_to_start(found: Tensor, expected: Tensor) -> None:
    """Assert equality to 0.1 mm after one turn about Z and one shift along the floor for all of it."""
    flat_found, flat_expected = (points.reshape(-1, 3).double() for points in (found, expected))
    turn, shift = roma.rigid_points_registration(flat_expected, flat_found)
    torch.testing.assert_close(turn[2, 2], torch.ones_like(turn[2, 2]), atol=1e-6, rtol=0)
    torch.testing.assert_close(shift[2], torch.zeros_like(shift[2]), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat_expected @ turn.T + shift, flat_found, atol=1e-4, rtol=0)


any_clip = {
    "persons": st.integers(1, 3),
    "frames": st.integers(2, 60),
    "turns": st.floats(-1.5, 1.5) | st.none(),
    "seed": st.integers(0, 10_000),
}


def build(persons: int, frames: int, turns: float | None, seed: int, fps: float = 20.0) -> MotionSequence:
    """Make a smooth clip, or without `turns` one that jumps from pose to pose."""
    if turns is None:
        return replace(random_clip(BODY, persons, frames, seed), fps=fps)
    return turning_clip(persons, frames, fps, turns, seed)


@given(**any_clip)
@settings(max_examples=30, deadline=None)
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


@given(**any_clip)
@settings(max_examples=30, deadline=None)
def test_record_to_intergen_and_back(persons: int, frames: int, turns: float | None, seed: int) -> None:
    """One turn and shift carries all persons, so that they stay where they are to each other."""
    clip = build(persons, frames, turns, seed, fps=30.0)
    features = intergen_262(clip)
    assert features.shape == (clip.num_persons, clip.num_frames - 1, 262)
    expected = without_heights(torch.from_numpy(clip.joints[:, :, :22]))[:, :-1]
    joints = joints_from_262(features)
    assert_same_up_to_start(joints, expected)
    torch.testing.assert_close(joints[0, 0, 0, :2], torch.zeros(2), atol=1e-6, rtol=0)
    steps = features[..., 66:132].unflatten(-1, (22, 3))
    positions = features[..., :66].unflatten(-1, (22, 3))
    torch.testing.assert_close(positions[:, :-1] + steps[:, :-1], positions[:, 1:], atol=1e-5, rtol=0)
    local = matrix_from_6d(features[..., 132:258].unflatten(-1, (21, 6)))
    np.testing.assert_allclose(local, clip.body_pose[:, :-1, :21], atol=1e-5)


@given(**any_clip)
@settings(max_examples=15, deadline=None)
def test_record_to_sceneintergen_and_back(persons: int, frames: int, turns: float | None, seed: int) -> None:
    clip = build(persons, frames, turns, seed)
    features = encode_286(torch.from_numpy(clip.joints), torch.from_numpy(clip.body_pose))
    assert torch.equal(features[..., :NUM_FEATURES], encode_sequence(clip))
    pose = decode(features[..., :NUM_FEATURES], BODY, torch.from_numpy(clip.betas))
    np.testing.assert_allclose(pose.joints(BODY), clip.joints, atol=1e-4)


def test_first_frame_faces_minus_y() -> None:
    """It faces so by hips and shoulders in HumanML3D, by the hips alone in InterGen; left is then +X."""
    clip = turning_clip(persons=2, frames=30, fps=20.0, turns=0.4)
    joints = joints_from_263(humanml3d_263(clip))[0, 0]
    to_the_left = joints[1] - joints[2] + joints[16] - joints[17]
    assert to_the_left[:2].tolist() == pytest.approx([float(to_the_left[:2].norm()), 0], abs=1e-6)
    joints = joints_from_262(intergen_262(replace(clip, fps=30.0)))[0, 0]
    to_the_left = joints[1] - joints[2]
    assert to_the_left[:2].tolist() == pytest.approx([float(to_the_left[:2].norm()), 0], abs=1e-6)


@pytest.mark.parametrize("turns", [0.9, -0.9])
def test_a_turn_past_the_back_keeps_its_sign(turns: float) -> None:
    """HumanML3D's own arcsine would flip one number; to the right is positive."""
    clip = turning_clip(persons=1, frames=120, fps=20.0, turns=turns)
    half_turns = humanml3d_263(clip)[0, 1:, 0]
    assert (torch.sign(half_turns) == -np.sign(turns)).all()
    assert 2 * half_turns.sum() == pytest.approx(-2 * math.pi * turns, rel=0.35), "smoothing shortens the ends"


def test_contacts_of_a_planted_and_a_lifted_foot() -> None:
    """The left toes stay on the floor while the heel rises above 12 cm at last; the right foot hovers, then moves."""
    clip = turning_clip(persons=1, frames=4, fps=20.0, turns=0)
    joints = torch.from_numpy(clip.joints[:, :1]).repeat(1, 4, 1, 1)
    joints[..., 2] += 1 - joints[..., 2].min()
    joints[..., 10, 2] = 0
    joints[..., 7, 2] = torch.tensor([0.10, 0.10, 0.11, 0.135])
    joints[..., [8, 11], 2] = torch.tensor([0.28, 0.22])
    joints[:, 2:, [8, 11], 0] += 0.1
    rotations, body_pose = torch.zeros(1, 4, 21, 6), torch.eye(3).expand(1, 4, 23, 3, 3)
    assert encode_263(joints[..., :22, :])[0, :, -4:].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert encode_262(joints[..., :22, :], rotations)[0, :, -4:].tolist() == 3 * [[1, 1, 0, 0]]
    assert encode_286(joints, body_pose)[0, :, -4:].tolist() == [4 * [0], *2 * [[1, 1, 0, 0]], [0, 1, 0, 0]]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
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


unit_vectors = st.tuples(*3 * [st.floats(-1, 1)]).filter(lambda v: math.hypot(*v) > 0.1)


@given(start=unit_vectors, end=unit_vectors)
@settings(deadline=None)
def test_shortest_rotation(start: tuple[float, ...], end: tuple[float, ...]) -> None:
    """It carries one direction to the other, by the angle between them."""
    a, b = (torch.nn.functional.normalize(torch.tensor(v, dtype=torch.float64), dim=0) for v in (start, end))
    rotation = shortest_rotation(a, b)
    torch.testing.assert_close(rotation @ a, b, atol=1e-6, rtol=0)
    assert roma.rotmat_to_rotvec(rotation).norm() == pytest.approx(
        float(torch.atan2((a - b).norm(), (a + b).norm())) * 2
    )


def test_shortest_rotation_of_opposite_and_of_no_direction() -> None:
    axes = torch.eye(3)
    torch.testing.assert_close(shortest_rotation(axes, -axes) @ axes[..., None], -axes[..., None])
    assert torch.equal(shortest_rotation(axes[0], torch.zeros(3)), torch.eye(3)), "a bone without length stays"


def test_mirroring_is_its_own_inverse_and_mirrors_a_pose() -> None:
    """The mirrored rotations carry the mirrored rest pose to the mirrored pose."""
    clip = random_clip(BODY, persons=1, frames=3)
    joints, body_pose = torch.from_numpy(clip.joints[0, :, :22]), torch.from_numpy(clip.body_pose[0, :, :21])
    mirrored, rotations = mirror(joints, matrix_to_6d(body_pose))
    torch.testing.assert_close(mirror(mirrored, rotations)[0], joints)
    torch.testing.assert_close(mirrored[:, 20], joints[:, 21] * torch.tensor([-1, 1, 1]))
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(matrix_from_6d(rotations)[:, 17], flip @ body_pose[:, 18] @ flip)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 25.0}, "clip: has 25 frames per second, expected {fps}: resample it first"),
        ({"valid": np.array([[True, True, True], [True, False, False]])}, "person 1 on 2 of 3 frames"),
    ],
)
def test_records_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    for convert, fps in ((humanml3d_263, 20.0), (intergen_262, 30.0)):
        clip = replace(turning_clip(persons=2, frames=3, fps=fps, turns=0.1), **change)
        with pytest.raises(InputError, match=re.escape(message.format(fps=int(fps)))):
            convert(clip)


def test_one_frame_has_no_step() -> None:
    with pytest.raises(InputError, match="has 1 frame, expected at least 2"):
        humanml3d_263(random_clip(BODY, persons=1, frames=1))


def load(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def z_up(points: Tensor) -> Tensor:
    return torch.stack([points[..., 0], -points[..., 2], points[..., 1]], dim=-1)


def y_up(points: Tensor) -> Tensor:
    return torch.stack([points[..., 0], points[..., 2], -points[..., 1]], dim=-1)


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=1e-5, rtol=0)


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


@pytest.mark.parametrize("swapped", ["", ".swapped"])
def test_golden_intergen(golden: Path, swapped: str) -> None:
    reference = load(golden / "intergen_motion" / "intergen_motion.npz")
    people = [split_492(reference[f"raw.person{number}"]) for number in (1, 2)]
    if swapped:
        people = [mirror(*person) for person in people]
    for number, person in enumerate(people, 1):
        loaded = torch.cat([part.flatten(-2) for part in person], dim=-1)
        assert_near(loaded, reference[f"load_motion.person{number}{swapped}"])
    joints, rotations = (torch.stack(parts) for parts in zip(*people, strict=True))
    together, alone = encode_262(joints, rotations), encode_262(joints[1:], rotations[1:])[0]
    process = {name.replace(f"process{swapped}.", ""): array for name, array in reference.items()}
    assert_near(together[0], process["person1"])
    assert_near(together[1], process["person2"])
    assert_near(alone, process["person2_before_placing"])

    # Where each starts, and the second as seen from the first: twice the angle, turned back, then the shift.
    for number, features in ((1, together[0]), (2, alone)):
        shifted = y_up(joints[number - 1]).double() - process[f"root_pos_init{number}"]
        placed = shifted @ matrix_from_wxyz(process[f"root_quat_init{number}"][0]).double().T
        placed[..., 1] -= placed[..., 1].min()
        assert_near(features[:, :66].unflatten(-1, (22, 3)), placed[:-1])
    angle, x, z = process["relative(angle,x,z)"]
    back = matrix_from_axis_angle(torch.tensor([0, -2 * angle, 0]))
    moved = alone[:, :66].unflatten(-1, (22, 3)) @ back.T + torch.tensor([x, 0, z])
    assert_near(together[1, :, :66].unflatten(-1, (22, 3)), moved)


def matrix_from_wxyz(quaternion: Tensor) -> Tensor:
    return roma.unitquat_to_rotmat(quaternion.roll(-1, dims=-1))


def test_golden_intergen_quaternions(golden: Path) -> None:
    """Our matrices are their quaternions."""
    reference = load(golden / "intergen_motion" / "intergen_motion.npz")
    q, r = matrix_from_wxyz(reference["q.q"]), matrix_from_wxyz(reference["q.r"])
    v, w = reference["q.v"], reference["q.w"]
    assert_near(q @ r, matrix_from_wxyz(reference["q.qmul"]))
    assert_near(q.mT, matrix_from_wxyz(reference["q.qinv"]))
    assert_near((q @ v[..., None])[..., 0], reference["q.qrot"])
    assert_near(shortest_rotation(v, w), matrix_from_wxyz(reference["q.qbetween"]))


@pytest.mark.parametrize("sample", ["sample0", "sample1"])
def test_golden_sceneintergen(golden: Path, sample: str) -> None:
    reference = load(golden / "sceneintergen" / "scene_motion.npz")
    fake_body = runpy.run_path(str(golden / "scripts" / "make_fake_smpl.py"))["build"]()[0]
    rest = torch.from_numpy(fake_body["J_regressor"] @ fake_body["v_template"]).float()
    transl, orient, pose = (reference[f"{sample}.{name}"] for name in ("translation", "global_orient", "body_pose"))
    rotations = torch.cat([orient[:, :, None], pose], dim=2)
    joints, _ = forward_kinematics(rest.expand(*transl.shape[:2], 24, 3), transl + rest[0], rotations)
    assert_near(joints, reference[f"{sample}.out.joints"])
    features = encode_286(joints, pose)
    assert_near(features[:, 1:, 72:144].unflatten(-1, (24, 3)), reference[f"{sample}.out.joint_vels"])
    assert torch.equal(features[:, 1:, 282:].bool(), reference[f"{sample}.out.foot_contact"])
    assert_near(features, reference[f"{sample}.out.x"])
    normalizer = Normalizer(reference["mean"], reference["std"] + 1e-6)
    normal, persons, frames = normalizer.normalize(features), *transl.shape[:2]
    # Compared in the features' own units: float32's rounding of metres is all that the small deviations magnify.
    for expected in (
        reference[f"{sample}.out.x_normalised"],
        reference["collated.x"][int(sample[-1]), :persons, :frames],
    ):
        assert_near(normal * normalizer.std, expected * normalizer.std)
    padding = reference["collated.x"][int(sample[-1])].clone()
    padding[:persons, :frames] = 0
    assert (padding == 0).all()
