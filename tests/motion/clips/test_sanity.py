"""Motions that no body makes are refused, odd ones described, and real ones left alone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.body import Body
from motion.clips.ground import settle
from motion.clips.sanity import STATURE, find_oddities, refuse_impossible, refuse_stature
from motion.clips.transforms import transform
from motion.errors import InputError
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, JOINT, MIRRORED
from motion.smpl_parameters import SmplParameters
from tests.helpers.clips import simulated
from tests.helpers.sources.humanml3d import walk

FPS = 20.0


def turned(angle: float, axis: int) -> Tensor:
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = angle
    return matrix_from_axis_angle(vector).float()


def record(body: Body, pose: SmplParameters, **others: object) -> MotionSequence:
    return settle(simulated(body, pose.transl, pose.global_orient, pose.body_pose, pose.betas, **others), body)


def walking(body: Body, **others: object) -> MotionSequence:
    return record(body, walk(2.0, FPS, 0), **others)


def along_x(pose: SmplParameters, metres_per_frame: float) -> SmplParameters:
    """Replace the path over the floor by a straight one."""
    path = pose.transl * torch.tensor([0.0, 0.0, 1.0])
    path[..., 0] = metres_per_frame * torch.arange(path.shape[1])
    return replace(pose, transl=path)


def bent(pose: SmplParameters, joints: dict[str, Tensor]) -> SmplParameters:
    body_pose = pose.body_pose.clone()
    for name, rotation in joints.items():
        body_pose[:, :, JOINT[name] - 1] = rotation
    return replace(pose, body_pose=body_pose)


def oriented(pose: SmplParameters, turn: Tensor) -> SmplParameters:
    return replace(pose, global_orient=turn @ pose.global_orient)


KNEES_BACKWARD = {f"{side}_knee": turned(-0.6, 0) for side in ("left", "right")}
ELBOWS_BACKWARD = {"left_elbow": turned(0.9, 1), "right_elbow": turned(-0.9, 1)}
IMPOSSIBLE: dict[str, tuple[Callable[[SmplParameters], SmplParameters], str]] = {
    "unit_of_path": (lambda pose: along_x(pose, 100 * 1.0 / FPS), r"person 1 moves at 100 m/s, expected at most 12\.4"),
    "knees": (lambda pose: bent(pose, KNEES_BACKWARD), r"knees that bend the wrong way in 100% of the frames"),
    "elbows": (lambda pose: bent(pose, ELBOWS_BACKWARD), r"elbow that bends the wrong way in 100% of the frames"),
    "upside_down": (lambda pose: oriented(pose, turned(3.1, 0)), r"person 1 is upside down in 100% of the frames"),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_nobody_does_is_refused(body: Body, kind: str) -> None:
    change, says = IMPOSSIBLE[kind]
    with pytest.raises(InputError, match=rf"clip: .*{says}"):
        refuse_impossible(record(body, change(walk(2.0, FPS, 0))))


def test_left_and_right_exchanged_show_in_the_knees(body: Body) -> None:
    sequence = walking(body)
    with pytest.raises(InputError, match="left and right may be swapped"):
        refuse_impossible(replace(sequence, joints=sequence.joints[:, :, list(MIRRORED)]))


def test_only_frames_that_are_valid_count(body: Body) -> None:
    fast = record(body, along_x(walk(2.0, FPS, 0), 5.0))
    valid = np.zeros_like(fast.valid)
    valid[:, ::2] = True  # no two in a row, so that no speed is known
    refuse_impossible(replace(fast, valid=valid))
    assert find_oddities(replace(fast, valid=valid), body) == []
    assert find_oddities(replace(fast, valid=np.zeros_like(valid)), body) == []


def test_a_moment_of_speed_is_a_jump_and_no_other_unit(body: Body) -> None:
    pose = walk(4.0, FPS, 0)
    pose.transl[:, 40:] += 3.0
    jumps = record(body, pose)
    refuse_impossible(jumps)
    (said,) = find_oddities(jumps, body)
    assert said.startswith("person 1 jumps: a joint moves at 10")  # sqrt(27) m in 1/20 s: 104 m/s, and the walk's own


def test_the_sources_stature_counts_where_it_is_known(body: Body) -> None:
    refuse_stature(walking(body, provenance={STATURE: "1.30"}), body)
    for statures, person in (("1.10", 1), ("1.70, 2.30", 2)):
        says = rf"person {person} is {statures[-4:]} m tall, expected 1\.2 to 2\.2 m"
        with pytest.raises(InputError, match=says):
            refuse_stature(walking(body, provenance={STATURE: statures}), body)


def test_the_stature_of_who_was_seen_in_a_room_is_an_estimate(body: Body) -> None:
    small = walking(body, provenance={STATURE: "1.10"}, scene_id="ward")
    refuse_stature(small, body)
    assert find_oddities(small, body) == ["person 1 is 1.10 m tall, expected 1.2 to 2.2 m"]
    assert find_oddities(small, body, shortest=1.0) == []


def test_children_are_let_in_on_request_and_else_the_bodys_stature_counts(body: Body) -> None:
    refuse_stature(walking(body, provenance={STATURE: "1.10"}), body, shortest=0.9)
    refuse_stature(walking(body), body)
    with pytest.raises(InputError, match=r"is 1\.69 m tall, expected 1\.8 to"):
        refuse_stature(walking(body), body, shortest=1.8)


LEGS_DOWN = {f"{side}_hip": turned(-2.4, 0) for side in ("left", "right")}
BEHIND_THE_BACK = {
    f"{side}_shoulder": turned(-sign * 1.3, 2) @ turned(-sign * 2.6, 0) for side, sign in (("left", 1), ("right", -1))
}
ODD: dict[str, tuple[Callable[[SmplParameters], SmplParameters], str]] = {
    "one_pose": (lambda pose: pose[:, [5] * 40], "keeps one pose, 40 frames long"),
    "head_down": (lambda pose: oriented(bent(pose, LEGS_DOWN), turned(2.6, 0)), "is head down in 100% of the frames"),
    "elbows": (lambda pose: bent(pose, BEHIND_THE_BACK), "bends the elbows backward in 100% of the frames"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_is_said(body: Body, kind: str) -> None:
    change, says = ODD[kind]
    sequence = record(body, change(walk(2.0, FPS, 0)))
    refuse_impossible(sequence)
    (said,) = find_oddities(sequence, body)
    assert said.startswith(f"person 1 {says}")


def test_a_path_in_feet_slides(body: Body, mimic: dict[str, MotionSequence]) -> None:
    real = mimic["deepmimic/humanoid3d_walk"]
    path = real.joints[:, :, :1] * np.array([1, 1, 0], dtype=np.float32)
    feet = replace(real, joints=real.joints + path * np.float32(1 / 0.3048 - 1))
    refuse_impossible(feet)
    (said,) = find_oddities(feet, body)
    assert said.startswith("person 1 slides: pelvis and feet move at ")


@pytest.mark.parametrize("axis", [0, 1], ids=["walks along the floor", "walks into the air"])
def test_a_walk_whose_y_is_up_lies_and_moves(body: Body, mimic: dict[str, MotionSequence], axis: int) -> None:
    laid = turned(-np.pi / 2, axis).numpy()
    lies = transform(mimic["deepmimic/humanoid3d_walk"], laid, np.zeros(3, np.float32), body)
    refuse_impossible(lies)
    assert "person 1 lies and yet moves at 0.9 m/s; another axis may point up" in find_oddities(lies, body)


def lifted(sequence: MotionSequence, height: float) -> MotionSequence:
    up = np.array([0, 0, height], dtype=np.float32)
    return replace(sequence, transl=sequence.transl + up, joints=sequence.joints + up)


def test_who_stays_off_the_floor_floats_unless_furniture_may_carry_them(body: Body) -> None:
    floats = lifted(walking(body), 0.4)
    assert find_oddities(lifted(walking(body), 0.05), body) == []
    (said,) = find_oddities(floats, body)
    assert said.startswith("person 1 floats 0.4")
    in_bed = np.full_like(floats.action, ACTIONS.index("laying_in_bed"))
    assert find_oddities(replace(floats, action=in_bed), body) == []
    assert find_oddities(replace(floats, scene_id="ward"), body) == []
    (sunk,) = find_oddities(replace(lifted(walking(body), -0.4), scene_id="ward"), body)
    assert "is sunk 0.3" in sunk


def test_real_motions_are_neither_refused_nor_odd(body: Body, mimic: dict[str, MotionSequence]) -> None:
    """Crawling, getting up from the back, jumping, running and walking."""
    for sequence in mimic.values():
        refuse_impossible(sequence)
        refuse_stature(sequence, body)
        assert find_oddities(sequence, body) == []
