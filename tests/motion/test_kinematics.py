"""Forward kinematics and its inverse: identities, round trips, hinges, straight limbs, degenerate joints."""

import math

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion.body import load_body
from motion.datasets import deepmimic
from motion.kinematics import forward_kinematics, pose_from_joints, root_orientation
from motion.rotations import matrix_from_axis_angle, matrix_to_axis_angle, rotate, shortest_rotation, slerp
from motion.skeleton import BONES, JOINT, JOINT_NAMES
from tests.helpers.clips import smooth_pose

BODY = load_body()
REST = BODY.rest_joints(torch.zeros(10))
STILL = torch.eye(3).expand(24, 3, 3)


def test_rest_pose_is_the_rest_skeleton() -> None:
    joints, rotations = forward_kinematics(REST, REST[0], STILL)
    torch.testing.assert_close(joints, REST)
    torch.testing.assert_close(rotations, torch.eye(3).expand(24, 3, 3))


def test_levels_of_the_tree_give_what_one_joint_after_the_other_gives() -> None:
    pose, rest = roma.random_rotmat((5, 24)).double(), BODY.rest_joints(torch.randn(5, 10)).double()
    joints, rotations = forward_kinematics(rest, torch.zeros(5, 3).double(), pose)
    for parent, child in BONES:
        torch.testing.assert_close(rotations[:, child], rotations[:, parent] @ pose[:, child], rtol=0, atol=1e-14)
        step = rotate(rotations[:, parent], rest[:, child] - rest[:, parent])
        torch.testing.assert_close(joints[:, child], joints[:, parent] + step, rtol=0, atol=1e-14)


def test_gradients_are_those_of_finite_differences() -> None:
    rest, pelvis, pose = torch.randn(1, 24, 3), torch.randn(1, 3), roma.random_rotmat((1, 24))
    inputs = [values.double().requires_grad_() for values in (rest, pelvis, pose)]
    assert torch.autograd.gradcheck(forward_kinematics, inputs, fast_mode=True)


def test_equivariance() -> None:
    """Turning the root turns all joints about the pelvis; the pelvis takes them along."""
    pose, turn = roma.random_rotmat(24), roma.random_rotmat()
    joints, _ = forward_kinematics(REST, torch.zeros(3), pose)
    pelvis = torch.tensor([1.0, 2.0, 3.0])
    moved, _ = forward_kinematics(REST, pelvis, torch.cat([turn @ pose[:1], pose[1:]]))
    torch.testing.assert_close(moved, joints @ turn.mT + pelvis, atol=1e-5, rtol=0)


def test_root_orientation_is_exact_and_indifferent_to_the_limbs() -> None:
    rest, pose = REST.expand(200, 24, 3), roma.random_rotmat((200, 24))
    joints, _ = forward_kinematics(rest, torch.randn(200, 3), pose)
    assert roma.rotmat_geodesic_distance(root_orientation(joints, rest), pose[:, 0]).max() < 2e-3


def test_root_orientation_is_stable_under_noise() -> None:
    """1 mm of noise on the joints turns the pelvis by no more than about a degree on average."""
    rest, turn = REST.expand(200, 24, 3), roma.random_rotmat(200)
    joints, _ = forward_kinematics(
        rest, torch.zeros(200, 3), torch.cat([turn[:, None], STILL[1:].expand(200, 23, 3, 3)], 1)
    )
    noisy = joints + 1e-3 * torch.randn_like(joints)
    error = roma.rotmat_geodesic_distance(root_orientation(noisy, rest), turn)
    assert error.mean() < 0.025


def test_axis_angle_round_trip_and_slerp_ends() -> None:
    rotations = roma.random_rotmat(50)
    torch.testing.assert_close(matrix_from_axis_angle(matrix_to_axis_angle(rotations)), rotations, atol=1e-5, rtol=0)
    other = roma.random_rotmat(50)
    torch.testing.assert_close(slerp(rotations, other, torch.zeros(50)), rotations, atol=1e-5, rtol=0)
    torch.testing.assert_close(slerp(rotations, other, torch.ones(50)), other, atol=1e-4, rtol=0)
    half = slerp(rotations, other, torch.full((50,), 0.5))
    torch.testing.assert_close(
        roma.rotmat_geodesic_distance(rotations, half),
        roma.rotmat_geodesic_distance(half, other),
        atol=1e-3,
        rtol=0,
    )


def joints_of(pose: Tensor, rest: Tensor = REST) -> Tensor:
    """Compute joints of a clip of 24 rotations a frame, the first of them the root's, with the pelvis at the origin."""
    still = rest.expand(*pose.shape[:-4], 24, 3).unsqueeze(-3).expand(*pose.shape[:-2], 3)
    return forward_kinematics(still, torch.zeros_like(still[..., 0, :]), pose)[0]


def solved(joints: Tensor, rest: Tensor = REST) -> Tensor:
    """Find 24 rotations a frame by `pose_from_joints`."""
    return pose_from_joints(joints, rest)


def still_clip(frames: int) -> Tensor:
    return torch.eye(3).repeat(frames, 24, 1, 1)


def about(axis: tuple[float, float, float], degrees: Tensor) -> Tensor:
    return matrix_from_axis_angle(torch.deg2rad(degrees)[:, None] * torch.tensor(axis))


def degrees_apart(a: Tensor, b: Tensor) -> Tensor:
    return roma.rotmat_geodesic_distance(a, b).rad2deg()


def test_the_rest_pose_has_no_rotations() -> None:
    rest = REST.expand(3, 24, 3)
    assert degrees_apart(solved(rest), still_clip(3)).max() < 0.1


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0, 1.5), st.floats(0, 2.0))
def test_joints_come_back_through_rotations(seed: int, size: float, spread: float) -> None:
    """Any rotations, any shape: the positions of all joints are exact."""
    generator = torch.Generator().manual_seed(seed)
    rest = BODY.rest_joints(spread * torch.randn(2, 10, generator=generator).clamp(-1.5, 1.5))
    joints = joints_of(smooth_pose(2, 11, size, generator), rest)
    pose, still = pose_from_joints(joints, rest), rest[:, None].expand_as(joints)
    again, rotations = forward_kinematics(still, joints[:, :, 0], pose)
    assert (again - joints).norm(dim=-1).max() < 1e-4
    assert (roma.rotmat_inverse(rotations) @ rotations - torch.eye(3)).abs().max() < 1e-4


@pytest.mark.parametrize("clip", ["walk", "getup_faceup", "backflip"])
def test_real_motion_comes_back_with_its_rotations(clip: str) -> None:
    """Positions to the micrometre; hips, knees, shoulders and elbows turn about their bones as they did."""
    (listed,) = (c for c in deepmimic.list_clips() if c.id == f"deepmimic/humanoid3d_{clip}")
    sequence = deepmimic.read_clip(listed, BODY)
    joints = torch.from_numpy(sequence.joints)[0]
    pose = pose_from_joints(joints, REST)
    again = forward_kinematics(REST.expand_as(joints), joints[:, 0], pose)[0]
    assert (again - joints).norm(dim=-1).max() < 1e-5
    limbs = [i - 1 for i, name in enumerate(JOINT_NAMES) if name.endswith(("hip", "knee", "shoulder", "elbow"))]
    error = degrees_apart(pose[:, 1:][:, limbs], torch.from_numpy(sequence.body_pose)[0, :, limbs])
    assert error.mean() < 5


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("start", "hinge", "axis"), [("hip", "knee", (1, 0, 0)), ("shoulder", "elbow", (0, 1, 0))])
def test_a_bent_limb_turns_about_its_bone_as_its_hinge_says(
    side: str, start: str, hinge: str, axis: tuple[float, float, float]
) -> None:
    """Any turn of the upper bone comes back when knee (backward) or elbow (forward) flexes about its axis."""
    flexion = torch.linspace(45, 140, 20)
    if (side, hinge) == ("left", "elbow"):
        flexion = -flexion
    pose = still_clip(20)
    pose[:, JOINT[f"{side}_{start}"]] = matrix_from_axis_angle(torch.tensor([0.5, -0.4, 0.6]))
    pose[:, JOINT[f"{side}_{hinge}"]] = about(axis, flexion)
    found = solved(joints_of(pose))
    for joint in (JOINT[f"{side}_{start}"], JOINT[f"{side}_{hinge}"]):
        assert degrees_apart(found[:, joint], pose[:, joint]).max() < 4


def test_an_arm_does_not_flip_when_it_passes_through_straight() -> None:
    """The elbow opens and closes again; the upper arm, turned by 70 degrees about itself, hardly turns."""
    bend = (torch.linspace(-60, 60, 121)).abs()
    pose = still_clip(121)
    pose[:, JOINT["left_shoulder"]] = about((1, 0, 0), torch.tensor([70.0])).expand(121, 3, 3)
    pose[:, JOINT["left_elbow"]] = about((0, 1, 0), -bend)
    found = solved(joints_of(pose))[:, JOINT["left_shoulder"]]
    assert degrees_apart(found[1:], found[:-1]).max() < 12
    assert degrees_apart(found, pose[:, JOINT["left_shoulder"]])[bend > 20].max() < 12


def test_an_overstretched_knee_does_not_turn_the_leg_around() -> None:
    bend = torch.linspace(60, -14, 60)  # degrees; the rest pose itself has a bend of 9
    pose = still_clip(60)
    pose[:, JOINT["right_knee"]] = about((1, 0, 0), bend)
    found = solved(joints_of(pose))[:, JOINT["right_hip"]]
    assert degrees_apart(found, torch.eye(3).expand(60, 3, 3)).max() < 5


def test_the_foot_tells_how_a_straight_leg_is_turned() -> None:
    """Half a turned-out foot shows in the hip and shin: it is not all left to the ankle."""
    pose = still_clip(30)
    pose[:, JOINT["left_hip"]] = about((0, 1, 0), torch.tensor([40.0])).expand(30, 3, 3)
    found = solved(joints_of(pose))
    ankle = degrees_apart(found[:, JOINT["left_ankle"]], still_clip(30)[:, 0])
    assert ankle.max() < 20


def test_a_straight_leg_shares_the_turn_of_its_foot() -> None:
    """Hip and foot turn by 40 degrees together; the knee is quite straight, so that its plane tells nothing.

    As complex numbers, the foot's turn counts 0.5 against 0.3 for the untwisted thigh; half of what is left against
    0.3 for the untwisted shin is the shin's, the rest the ankle's.
    """
    hip, knee, ankle, foot = (JOINT[f"left_{name}"] for name in ("hip", "knee", "ankle", "foot"))
    thigh, shin, toes = (torch.nn.functional.normalize(REST[b] - REST[a], dim=0) for a, b in
                         ((hip, knee), (knee, ankle), (ankle, foot)))  # fmt: skip
    pose = still_clip(30)
    pose[:, hip] = matrix_from_axis_angle(torch.deg2rad(torch.tensor(40.0)) * thigh)
    pose[:, knee] = shortest_rotation(shin, thigh)
    found = solved(joints_of(pose))
    straight = shortest_rotation(shin, thigh)
    across = (toes - (toes @ shin) * shin).square().sum()
    turn = torch.tensor(math.radians(40))
    of_hip = torch.atan2(0.5 * across * turn.sin(), 0.5 * across * turn.cos() + 0.3)
    left = turn - of_hip
    of_shin = 0.5 * torch.atan2(across * left.sin(), across * left.cos() + 0.3)
    turns = {hip: of_hip * thigh, ankle: (left - of_shin) * shin}
    for joint, expected in turns.items():
        assert degrees_apart(found[:, joint], matrix_from_axis_angle(expected)).max() < 3
    assert degrees_apart(found[:, knee], straight @ matrix_from_axis_angle(of_shin * shin)).max() < 3


def test_a_straight_arm_keeps_the_turn_of_the_bent_one_before_and_after() -> None:
    """It is straight for a fifth of a second; the upper arm is turned by 70 degrees about itself all the while."""
    straight = (torch.arange(41) - 20).abs() <= 2
    pose = still_clip(41)
    pose[:, JOINT["left_shoulder"]] = about((1, 0, 0), torch.tensor([70.0])).expand(41, 3, 3)
    pose[:, JOINT["left_elbow"]] = about((0, 1, 0), torch.where(straight, 0.0, -60.0))
    found = degrees_apart(solved(joints_of(pose))[:, JOINT["left_shoulder"]], pose[:, JOINT["left_shoulder"]])
    assert found[straight].max() < 35
    assert found[~straight].max() < 5


def test_a_foot_that_turns_to_point_backward_does_not_flip_the_shin() -> None:
    """The foot turns by a degree a frame about the shin of a bent leg, past 180."""
    pose = still_clip(61)
    pose[:, JOINT["left_knee"]] = about((1, 0, 0), torch.full((61,), 60.0))
    pose[:, JOINT["left_ankle"]] = about((0, 1, 0), torch.linspace(150, 210, 61))
    found = solved(joints_of(pose))
    for joint in ("left_knee", "left_ankle"):
        assert degrees_apart(found[1:, JOINT[joint]], found[:-1, JOINT[joint]]).max() < 5


def test_the_spine_shares_its_twist() -> None:
    pose = still_clip(5)
    for name in ("spine1", "spine2", "spine3"):
        pose[:, JOINT[name]] = about((0, 1, 0), torch.tensor([15.0])).expand(5, 3, 3)
    found = solved(joints_of(pose))
    for name in ("spine1", "spine2", "spine3"):
        assert degrees_apart(found[:, JOINT[name]], pose[:, JOINT[name]]).max() < 5


def test_turning_and_shifting_the_joints_turns_and_shifts_the_root_alone() -> None:
    joints = joints_of(smooth_pose(1, 20, 0.6, torch.Generator().manual_seed(3)))[0]
    turn, shift = about((0, 0, 1), torch.tensor([77.0]))[0], torch.tensor([3.0, -2.0, 0.5])
    pose = pose_from_joints(joints, REST)
    moved = pose_from_joints(joints @ turn.mT + shift, REST)
    torch.testing.assert_close(moved[:, 0], turn @ pose[:, 0], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[:, 1:], pose[:, 1:], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "joints",
    [
        torch.zeros(2, 24, 3),
        torch.linspace(0, 1, 24)[None, :, None] * torch.ones(2, 24, 3),
        REST * torch.tensor([1.0, -1.0, 1.0]) * torch.ones(2, 1, 1),
        -REST * torch.ones(2, 1, 1),
    ],
    ids=["a point", "a line", "upside down", "inside out"],
)
def test_any_joints_give_rotations(joints: Tensor) -> None:
    """Bones of no length and bones opposite to their rest direction included."""
    rotations = solved(joints)
    assert (rotations.mT @ rotations - torch.eye(3)).abs().max() < 1e-4
    assert (torch.linalg.det(rotations) > 0).all()


def test_bones_of_other_lengths_keep_their_directions() -> None:
    joints = joints_of(smooth_pose(1, 9, 0.5, torch.Generator().manual_seed(5)))[0]
    elbow, wrist = (JOINT[f"left_{name}"] for name in ("elbow", "wrist"))
    stretched = joints.clone()
    stretched[:, [wrist, JOINT["left_hand"]]] += 0.3 * (joints[:, wrist] - joints[:, elbow])[:, None]
    again = joints_of(solved(stretched))
    torch.testing.assert_close(again + joints[:, :1], joints, atol=1e-4, rtol=0)


def test_straight_limbs_do_not_spin_on_noise() -> None:
    """2 mm of noise on standing joints, whose straight limbs have no plane to tell their twist."""
    noisy = REST.repeat(60, 1, 1) + 0.002 * torch.randn(60, 24, 3, generator=torch.Generator().manual_seed(0))
    limbs = [i for i, name in enumerate(JOINT_NAMES) if name.endswith(("hip", "knee", "ankle", "shoulder", "elbow"))]
    rotations = solved(noisy)[:, limbs]
    assert degrees_apart(rotations[1:], rotations[:-1]).max() < 12
