"""Clean-up: spoiled clips come out clean, real ones hardly change, and no stage moves what is not its business."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.body.capsules import fit_capsules
from motion.body.penetration import person_penetration, scene_penetration
from motion.clips.augment import yaw
from motion.clips.ground import lowest_skin
from motion.clips.transforms import crop, resample, transform
from motion.datasets import deepmimic
from motion.errors import InputError
from motion.generator import CleanupConfig, clean_up
from motion.generator.cleanup import foot_shifts, lock_feet, push_apart, reach, stand_on_floor
from motion.metrics.plausibility import plausibility
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, JOINT
from tests.helpers.clips import UPRIGHT, motion, simulated
from tests.helpers.scenes import scene_of

BODY = load_body()
LYING = UPRIGHT @ torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # on the back
PARAMETERS = ("transl", "global_orient", "body_pose", "joints")
OFF = CleanupConfig(floor=False, penetration=False, foot_lock=False)


@lru_cache
def _clip(name: str) -> MotionSequence:
    """Read one of DeepMimic's clips at the training rate."""
    clip = next(c for c in deepmimic.list_clips() if c.id.endswith(f"_{name}"))
    return resample(deepmimic.read_clip(clip, BODY), 20.0, BODY)


def _moved(sequence: MotionSequence, *offset: float) -> MotionSequence:
    return transform(sequence, np.eye(3, dtype=np.float32), np.array(offset, dtype=np.float32), BODY)


def _together(*sequences: MotionSequence) -> MotionSequence:
    arrays: dict[str, Any] = {n: np.concatenate([getattr(s, n) for s in sequences]) for n in sequences[0].ARRAYS}
    return replace(sequences[0], **arrays)


def _dragged(sequence: MotionSequence, path: np.ndarray) -> MotionSequence:
    """Move the pelvis by a path, and all else with it."""
    by = path.astype(np.float32)
    return replace(sequence, transl=sequence.transl + by, joints=sequence.joints + by[..., None, :])


def _hurried(sequence: MotionSequence, factor: float) -> MotionSequence:
    """Take the same steps with a pelvis that moves faster."""
    return _dragged(sequence, (factor - 1) * (sequence.transl - sequence.transl[:, :1]) * [1, 1, 0])


def _sliding(sequence: MotionSequence, speed: float) -> MotionSequence:
    seconds = np.arange(sequence.num_frames) / sequence.fps
    return _dragged(sequence, np.broadcast_to(seconds[:, None] * [0, speed, 0], sequence.transl.shape))


def _still(height: float, orient: torch.Tensor = UPRIGHT, frames: int = 41) -> MotionSequence:
    """Pose one person in T-pose whose lowest skin is at this height."""
    pose = torch.eye(3).expand(1, frames, 23, 3, 3).contiguous()
    turned = orient.expand(1, frames, 3, 3).contiguous()
    made = simulated(BODY, torch.zeros(1, frames, 3), turned, pose, torch.zeros(1, 10))
    return _moved(made, 0, 0, height - lowest_skin(made, BODY).min().item())


def _spoiled() -> MotionSequence:
    """Overlap two walkers: one hurries, the other is 5 cm deep in the floor."""
    return _together(_hurried(_clip("walk"), 1.15), _moved(_clip("walk"), 0.1, 0.2, -0.05))


def _sheet(first: tuple[float, float], second: tuple[float, float], step: float = 0.04) -> np.ndarray:
    """Make a grid of pairs of numbers in these ranges."""
    return np.stack(np.meshgrid(np.arange(*first, step), np.arange(*second, step)), axis=-1).reshape(-1, 2)


def _measure(sequence: MotionSequence, name: str) -> float:
    return plausibility(sequence, BODY)[name]


def _change(before: MotionSequence, after: MotionSequence) -> float:
    """Compute the mean displacement of the joints in metres."""
    return float(np.linalg.norm(after.joints - before.joints, axis=-1).mean())


def _is_consistent(sequence: MotionSequence) -> bool:
    return bool(np.abs(sequence.parameters.joints(BODY).numpy() - sequence.joints)[sequence.valid].max() < 1e-4)


def _depth(sequence: MotionSequence) -> float:
    return float(person_penetration(fit_capsules(sequence.joints, sequence.betas, BODY), sequence.valid)[1].max())


# Feet


@pytest.mark.parametrize(
    ("spoil", "measure", "before", "after"),
    [
        (lambda walk: _hurried(walk, 1.15), "foot_skate", 0.14, 0.001),
        (lambda walk: _sliding(walk, 0.3), "foot_skate", 0.29, 0.001),
        (lambda walk: _sliding(walk, 0.6), "skate_ratio", 0.85, 0.05),
    ],
)
def test_feet_that_skate_stand_still(
    spoil: Callable[[MotionSequence], MotionSequence], measure: str, before: float, after: float
) -> None:
    spoiled = spoil(_clip("walk"))
    cleaned = lock_feet(spoiled, BODY)
    assert _measure(spoiled, measure) > before
    assert _measure(cleaned, measure) < after
    assert _measure(cleaned, "jerk") < 1.08 * _measure(spoiled, "jerk")
    assert _measure(cleaned, "joint_limits") == 0


def test_locked_feet_keep_their_heights_and_directions_and_stay_put() -> None:
    before = _sliding(_clip("walk"), 0.2)
    after = lock_feet(before, BODY)
    ankles, toes = [7, 8], [10, 11]
    soles = before.joints[:, :, toes] - before.joints[:, :, ankles]
    np.testing.assert_allclose(after.joints[:, :, toes] - after.joints[:, :, ankles], soles, atol=1e-5)
    np.testing.assert_allclose(after.joints[:, :, ankles, 2], before.joints[:, :, ankles, 2], atol=2e-3)
    planted = after.joints[0, 2:8, JOINT["right_foot"], :2]
    assert np.ptp(before.joints[0, 2:8, JOINT["right_foot"], 1]) > 0.04
    assert np.ptp(planted, axis=0).max() < 1e-3


def test_feet_in_the_air_and_below_a_running_speed_are_let_go() -> None:
    assert not foot_shifts(_moved(_hurried(_clip("walk"), 1.15), 0, 0, 0.1), BODY).any()
    assert not foot_shifts(_sliding(_still(0.0), 1.5), BODY).any()


def test_a_foot_leaves_its_place_smoothly() -> None:
    shifts = foot_shifts(_hurried(_clip("walk"), 1.3), BODY)
    assert np.abs(shifts).max() > 0.05
    assert np.abs(np.diff(shifts, axis=1)).max() < 0.05


def _leg(numbers: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Place hip, a knee 0.4 m and an ankle a further 0.38 m away, bent by 0.1 rad or more about some axis."""
    turn = matrix_from_axis_angle(torch.tensor(numbers[:3], dtype=torch.float64))
    bend = matrix_from_axis_angle(torch.tensor([0.1 + abs(numbers[3]), 0, 0], dtype=torch.float64))
    down = torch.tensor([0, -1.0, 0], dtype=torch.float64)
    knee = turn @ (0.4 * down)
    return torch.zeros(3, dtype=torch.float64), knee, knee + turn @ bend @ (0.38 * down)


NUMBERS = st.lists(st.floats(-1, 1), min_size=4, max_size=4)


@given(leg=NUMBERS, way=NUMBERS, far=st.floats(0.1, 0.77))
@settings(max_examples=50)
def test_legs_reach_places_within_reach_with_the_knee_on_its_side(
    leg: list[float], way: list[float], far: float
) -> None:
    hip, knee, ankle = _leg(leg)
    target = far * torch.nn.functional.normalize(torch.tensor(way[:3], dtype=torch.float64) + ankle, dim=-1)
    thigh, shin = reach(hip, knee, ankle, target, torch.tensor(0.78, dtype=torch.float64), -ankle)
    new_knee = thigh @ knee
    new_ankle = new_knee + thigh @ shin @ (ankle - knee)
    torch.testing.assert_close(new_ankle, target, atol=1e-6, rtol=0)
    pole, new_pole = torch.linalg.cross(knee, ankle), torch.linalg.cross(new_knee, new_ankle)
    assert (thigh @ pole) @ new_pole > 0


@given(leg=NUMBERS)
@settings(max_examples=20)
def test_reach_is_the_identity_where_the_foot_is_and_goes_no_further_than_allowed(leg: list[float]) -> None:
    hip, knee, ankle = _leg(leg)
    longest = torch.tensor(0.75, dtype=torch.float64).maximum(ankle.norm())
    for turn in reach(hip, knee, ankle, ankle, longest, -ankle):
        torch.testing.assert_close(turn, torch.eye(3, dtype=torch.float64), atol=1e-6, rtol=0)
    target = torch.tensor([0.3, -1.0, 0.2], dtype=torch.float64)
    thigh, shin = reach(hip, knee, ankle, target, longest, -ankle)
    new_ankle = thigh @ knee + thigh @ shin @ (ankle - knee)
    torch.testing.assert_close(new_ankle, longest * target / target.norm(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("bend", "wanted"), [(0.01, 1), (-0.01, 1), (0.04, 1), (-0.04, -1)])
def test_a_straight_knee_bends_backward_and_a_bent_one_further(bend: float, wanted: int) -> None:
    """The bend is in radians, backward (to +x) where positive: below a degree it is a measurement's noise."""
    down, backward = torch.tensor([0, 0, -1.0], dtype=torch.float64), torch.tensor([1.0, 0, 0], dtype=torch.float64)
    hip, knee = 0 * down, 0.4 * down
    ankle = knee + 0.38 * torch.tensor([np.sin(bend), 0, -np.cos(bend)], dtype=torch.float64)
    thigh, shin = reach(hip, knee, ankle, 0.7 * down, torch.tensor(0.78, dtype=torch.float64), backward)
    new_knee = thigh @ knee
    new_ankle = new_knee + thigh @ shin @ (ankle - knee)
    torch.testing.assert_close(new_ankle, 0.7 * down, atol=1e-6, rtol=0)
    assert -wanted * new_knee[0] > 0.1, "the knee goes to the other side than the shin"


def _kneed() -> MotionSequence:
    """Pose one person who stands with knees bent by 30 degrees, soles level on the floor."""
    pose = torch.eye(3).repeat(1, 41, 23, 1, 1)
    for name, degrees in (("hip", -15), ("knee", 30), ("ankle", -15)):
        turn = matrix_from_axis_angle(torch.deg2rad(torch.tensor([float(degrees), 0, 0])))
        for side in ("left", "right"):
            pose[:, :, JOINT[f"{side}_{name}"] - 1] = turn
    made = simulated(BODY, torch.zeros(1, 41, 3), UPRIGHT.expand(1, 41, 3, 3), pose, torch.zeros(1, 10))
    return _moved(made, 0, 0, -lowest_skin(made, BODY).min().item())


def _stretch(sequence: MotionSequence) -> np.ndarray:
    """Compute the distance from hip to ankle as a share of thigh and shin, for both legs of each frame."""
    hips, knees, ankles = (sequence.joints[:, :, joints].astype(np.float64) for joints in ([1, 2], [4, 5], [7, 8]))
    bones = np.linalg.norm(knees - hips, axis=-1) + np.linalg.norm(ankles - knees, axis=-1)
    return np.linalg.norm(ankles - hips, axis=-1) / bones


def test_feet_out_of_reach_lower_the_pelvis_by_3_cm_and_leave_knees_a_little_bent() -> None:
    """The feet should stand where they are in the middle, 40 cm away at either end."""
    before = _sliding(_kneed(), 0.4)
    after = lock_feet(before, BODY)
    sunk = before.transl[..., 2] - after.transl[..., 2]
    assert 0.029 < sunk.max() <= 0.03 + 1e-6
    assert _stretch(before).max() < 0.97
    assert 0.994 < _stretch(after).max() < 0.996


# Floor


def test_people_in_the_floor_or_afloat_come_to_stand_on_it() -> None:
    sunk, afloat = _moved(_clip("walk"), 0, 0, -0.05), _moved(_clip("walk"), 0, 0, 0.05)
    assert _measure(sunk, "floor_penetration") > 0.045
    assert _measure(afloat, "floating") > 0.045
    for spoiled in (sunk, afloat):
        cleaned = stand_on_floor(spoiled, BODY)
        assert np.abs(lowest_skin(cleaned, BODY)).max() < 0.01
        assert _measure(cleaned, "floor_penetration") == _measure(cleaned, "floating") == 0
        np.testing.assert_allclose(_measure(cleaned, "jerk"), _measure(spoiled, "jerk"), rtol=0.01)


def test_leaps_stay_leaps() -> None:
    jump = _clip("jump")
    cleaned = stand_on_floor(_moved(jump, 0, 0, -0.05), BODY)
    apex = lowest_skin(jump, BODY).argmax()
    assert lowest_skin(jump, BODY)[0, apex] > 0.15
    assert abs(lowest_skin(cleaned, BODY)[0, apex] - lowest_skin(jump, BODY)[0, apex]) < 0.01
    np.testing.assert_array_equal(cleaned.transl[..., :2], jump.transl[..., :2])


def test_people_on_furniture_are_not_pulled_down() -> None:
    """Persons may be high for long without a scene; lower only where the scene has something to carry them."""
    in_bed, on_step = _still(0.5, LYING), _still(0.12)
    step = scene_of(np.insert(_sheet((-0.4, 0.4), (-0.4, 0.4)), 2, 0.12, axis=1), 4)
    assert _change(in_bed, stand_on_floor(in_bed, BODY)) < 1e-6
    assert _change(on_step, stand_on_floor(on_step, BODY, step)) < 1e-6
    assert abs(lowest_skin(stand_on_floor(on_step, BODY), BODY)).max() < 1e-5


def test_people_whose_action_needs_furniture_are_not_pulled_down() -> None:
    """A low bed that no scene shows carries who lies in it."""
    low = _still(0.12, LYING)
    supported = ("laying_in_bed", "sitting_in_bed", "sitting_in_chair", "sitting_in_lift", "sitting_in_walker")
    for name in (*supported, "sitting_on_bed_edge"):
        resting = replace(low, action=np.full_like(low.action, ACTIONS.index(name)))
        assert _change(resting, stand_on_floor(resting, BODY)) < 1e-6
    for name in ("unknown", "laying_on_floor", "standing_on_floor"):
        other = replace(low, action=np.full_like(low.action, ACTIONS.index(name)))
        assert _change(other, stand_on_floor(other, BODY)) == pytest.approx(0.12, abs=1e-3)


# Penetration


@pytest.mark.parametrize("offset", [(0.0, 0.15, 0.0), (0.1, 0.3, 0.0), (0.0, 0.0, 0.0)])
def test_people_are_pushed_apart_each_by_half(offset: tuple[float, float, float]) -> None:
    spoiled = _together(_clip("walk"), _moved(_clip("walk"), *offset))
    cleaned = push_apart(spoiled, BODY)
    moved = cleaned.transl - spoiled.transl
    assert _depth(spoiled) > 0.1
    assert _depth(cleaned) < 0.02
    assert _measure(cleaned, "person_penetration_volume") < 0.02 * _measure(spoiled, "person_penetration_volume")
    np.testing.assert_allclose(moved[0], -moved[1], atol=1e-5)
    assert not moved[..., 2].any()
    assert np.abs(np.diff(moved, n=2, axis=1)).max() < 0.01  # metres a frame, of speed


def test_people_who_meet_and_part_are_moved_only_around_the_meeting() -> None:
    walk, meet = _clip("walk"), _clip("walk").joints[0, -1, 0, 0]
    met = _together(walk, _moved(yaw(walk, np.pi, BODY), meet, 0.4, 0))
    moved = np.abs(push_apart(met, BODY).transl - met.transl)
    assert moved.max() > 0.02
    assert moved[:, 0].max() < 1e-6
    assert moved[:, -1].max() < 1e-6


def test_a_wall_pushes_out_and_a_bed_does_not_push_off() -> None:
    standing, lying = _still(0.0, frames=4), _still(0.42, LYING, frames=4)
    wall = scene_of(np.insert(_sheet((-1.5, 1.5), (0, 2)), 0, 0.06, axis=1), 3)
    bed = scene_of(np.insert(_sheet((-1.5, 1.5), (-1.0, 1.0)), 2, 0.5, axis=1), 3)
    out, still = push_apart(standing, BODY, wall), push_apart(lying, BODY, bed)
    for spoiled, scene in ((standing, wall), (lying, bed)):
        assert (
            scene_penetration(fit_capsules(spoiled.joints, spoiled.betas, BODY), spoiled.valid, scene)[1].min() > 0.02
        )
    assert scene_penetration(fit_capsules(out.joints, out.betas, BODY), out.valid, wall)[1].max() < 0.02
    assert out.transl[..., 0].max() < standing.transl[..., 0].min() - 0.02
    assert _change(lying, still) < 1e-6


# The whole


@pytest.mark.parametrize(("name", "most"), [("walk", 0.005), ("kick", 0.01), ("getup_faceup", 0.01), ("run", 0.015)])
def test_real_clips_hardly_change(name: str, most: float) -> None:
    assert _change(_clip(name), clean_up(_clip(name), BODY)) < most


def test_everything_at_once_comes_out_clean_and_stays_so() -> None:
    spoiled = _spoiled()
    before, once = plausibility(spoiled, BODY), clean_up(spoiled, BODY)
    after = plausibility(once, BODY)
    for name in ("foot_skate", "floor_penetration", "person_penetration_volume"):
        assert after[name] < 0.05 * before[name]
    assert after["jerk"] < 1.1 * before["jerk"]
    assert after["joint_limits"] == 0
    assert _is_consistent(once)
    assert _change(once, clean_up(once, BODY)) < 0.003
    assert once.provenance == spoiled.provenance | {"cleanup": "floor penetration foot_lock"}


def test_bones_keep_the_body_s_lengths_whatever_the_joints_said() -> None:
    spoiled = _clip("walk")
    stretched = replace(spoiled, joints=1.03 * spoiled.joints)
    assert _measure(stretched, "bone_error") > 0.02
    cleaned = clean_up(stretched, BODY)
    assert _measure(cleaned, "bone_error") < 1e-4
    assert _measure(cleaned, "bone_drift") < 1e-4


def test_the_order_of_people_does_not_matter() -> None:
    spoiled = _together(_spoiled(), _moved(_clip("walk"), 0.3, 0.4, 0))
    order = [2, 0, 1]
    arrays: dict[str, Any] = {name: getattr(spoiled, name)[order] for name in spoiled.ARRAYS}
    cleaned, other = clean_up(spoiled, BODY), clean_up(replace(spoiled, **arrays), BODY)
    np.testing.assert_allclose(other.joints, cleaned.joints[order], atol=1e-4)


def test_invalid_frames_neither_change_nor_matter() -> None:
    spoiled = _spoiled()
    valid = spoiled.valid.copy()
    valid[0, 9:12] = valid[1, :5] = False
    spoiled = replace(spoiled, valid=valid)
    garbage = motion(BODY, frames=spoiled.num_frames)
    arrays: dict[str, Any] = {
        name: np.where(
            valid.reshape(2, -1, *(1,) * (getattr(spoiled, name).ndim - 2)), *(getattr(s, name) for s in pair)
        )
        for name in PARAMETERS
        if (pair := (spoiled, garbage))
    }
    cleaned, other = clean_up(spoiled, BODY), clean_up(replace(spoiled, **arrays), BODY)
    for name in PARAMETERS:
        np.testing.assert_array_equal(getattr(cleaned, name)[~valid], getattr(spoiled, name)[~valid])
        np.testing.assert_allclose(getattr(other, name)[valid], getattr(cleaned, name)[valid], atol=1e-5)
    assert _is_consistent(cleaned)
    assert np.abs(cleaned.joints - spoiled.joints)[valid].max() > 0.05


def test_what_is_switched_off_is_not_touched() -> None:
    spoiled = _spoiled()
    assert clean_up(spoiled, BODY, config=OFF) is spoiled
    floor, apart, feet = (
        clean_up(spoiled, BODY, config=replace(OFF, **{name: True})) for name in ("floor", "penetration", "foot_lock")
    )
    for cleaned, name in ((floor, "floor"), (apart, "penetration"), (feet, "foot_lock")):
        assert cleaned.provenance["cleanup"] == name
        np.testing.assert_array_equal(cleaned.global_orient, spoiled.global_orient)
    np.testing.assert_array_equal(floor.transl[..., :2], spoiled.transl[..., :2])
    np.testing.assert_array_equal(apart.transl[..., 2], spoiled.transl[..., 2])
    for rigid in (floor, apart):
        np.testing.assert_array_equal(rigid.body_pose, spoiled.body_pose)
    legs = [JOINT[f"{side}_{joint}"] - 1 for side in ("left", "right") for joint in ("hip", "knee", "ankle")]
    np.testing.assert_array_equal(np.delete(feet.body_pose, legs, 2), np.delete(spoiled.body_pose, legs, 2))
    np.testing.assert_array_equal(feet.transl[..., :2], spoiled.transl[..., :2])


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_short_clips_and_people_never_seen(frames: int) -> None:
    short = crop(_spoiled(), 0, frames)
    short = replace(short, valid=short.valid & np.array([[True], [False]]))
    cleaned = clean_up(short, BODY, scene_of(np.zeros((0, 3)), 3))
    assert _is_consistent(cleaned)
    np.testing.assert_array_equal(cleaned.joints[1], short.joints[1])


def test_another_body_is_refused() -> None:
    with pytest.raises(InputError, match="not 'default'"):
        clean_up(replace(_clip("walk"), body="smplh-male"), BODY)
