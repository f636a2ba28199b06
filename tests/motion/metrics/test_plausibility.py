"""Planted faults, which raise their own measures and no others; what real clips reach; edge cases."""

import math
import warnings
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
from motion.clips.augment import mirror
from motion.clips.transforms import crop, resample, transform
from motion.datasets import deepmimic
from motion.errors import InputError
from motion.metrics.plausibility import MEASURES, plausibility, swing_and_twist
from motion.rotations import matrix_from_axis_angle
from motion.sequence import LABELS, MotionSequence
from motion.skeleton import ACTIONS, JOINT
from tests.helpers.clips import UPRIGHT, motion, simulated
from tests.helpers.scenes import scene_of

BODY = load_body()
PEOPLE = {"person_penetration_volume", "person_penetration_frames"}
IN_SCENE = {"scene_penetration_volume", "scene_penetration_frames"}


@lru_cache
def _clip(name: str) -> MotionSequence:
    """Read one of DeepMimic's clips at the training rate."""
    clip = next(c for c in deepmimic.list_clips() if c.id.endswith(f"_{name}"))
    return resample(deepmimic.read_clip(clip, BODY), 20.0, BODY)


def _beside(one: MotionSequence, offset: tuple[float, float, float]) -> MotionSequence:
    """Put a person beside a moved copy of themselves."""
    other = transform(one, np.eye(3, dtype=np.float32), np.array(offset, dtype=np.float32), BODY)
    arrays: dict[str, Any] = {name: np.concatenate([getattr(r, name) for r in (one, other)]) for name in one.ARRAYS}
    return replace(one, **arrays)


@lru_cache
def _walkers() -> MotionSequence:
    return _beside(_clip("walk"), (0, 1.5, 0))


def _standing(frames: int = 41, height: float = 0.0) -> MotionSequence:
    """Pose one person in T-pose on the floor, or above it."""
    soles = BODY.v_template[:, 1].min()
    place = torch.tensor([0, 0, height - soles]).expand(1, frames, 3).contiguous()
    pose = torch.eye(3).expand(1, frames, 23, 3, 3).contiguous()
    return simulated(BODY, place, UPRIGHT.expand(1, frames, 3, 3).contiguous(), pose, torch.zeros(1, 10))


def _moved(sequence: MotionSequence, offset: np.ndarray) -> MotionSequence:
    return replace(sequence, joints=(sequence.joints + offset).astype(np.float32))


def _times(sequence: MotionSequence) -> np.ndarray:
    return (np.arange(sequence.num_frames) / sequence.fps)[None, :, None, None]


def _slid(sequence: MotionSequence) -> MotionSequence:
    return _moved(sequence, _times(sequence) * [0, 0.05, 0])


def _skated(sequence: MotionSequence) -> MotionSequence:
    return _moved(sequence, _times(sequence) * [0, 0.8, 0])


def _sunk(sequence: MotionSequence) -> MotionSequence:
    return _moved(sequence, np.array([0, 0, -0.1]))


def _raised(sequence: MotionSequence) -> MotionSequence:
    return _moved(sequence, np.array([0, 0, 0.1]))


def _merged(sequence: MotionSequence) -> MotionSequence:
    return replace(sequence, joints=sequence.joints[[0, 0]])


def _stretched(sequence: MotionSequence) -> MotionSequence:
    return replace(sequence, joints=(1.05 * sequence.joints).astype(np.float32))


def _growing(sequence: MotionSequence) -> MotionSequence:
    growth = np.linspace(1, 1.05, sequence.num_frames)[None, :, None, None]
    return replace(sequence, joints=(growth * sequence.joints).astype(np.float32))


def _jittered(sequence: MotionSequence) -> MotionSequence:
    """Shake every joint for itself at 10 Hz by 1 cm."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(2, 1, 24, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, (2, 1, 24, 1))
    return _moved(sequence, 0.01 * direction * np.sin(2 * np.pi * 10 * _times(sequence) + phase))


def _frozen(sequence: MotionSequence) -> MotionSequence:
    """Repeat one pose that stands with both feet where they are."""
    return replace(sequence, joints=np.repeat(sequence.joints[:, 12:13], sequence.num_frames, axis=1))


def _jumped(sequence: MotionSequence) -> MotionSequence:
    """Move both all at once a metre further in the middle."""
    return _moved(sequence, (np.arange(sequence.num_frames) > 12)[None, :, None, None] * np.array([1.0, 0, 0]))


def _bent(sequence: MotionSequence) -> MotionSequence:
    """Bend the left knees of both forward by 40 degrees."""
    pose = sequence.body_pose.copy()
    pose[:, :, JOINT["left_knee"] - 1] = matrix_from_axis_angle(torch.tensor([-math.radians(40), 0, 0])).numpy()
    return replace(sequence, body_pose=pose)


# The fault, what it raises, from what to at least what, and what else may change: its relatives.
FAULTS: list[tuple[Callable[[MotionSequence], MotionSequence], str, float, float, set[str]]] = [
    (_slid, "foot_skate", 0.021, 0.045, set()),
    (_skated, "skate_ratio", 0.06, 0.9, {"foot_skate", "root_speed"}),
    (_sunk, "floor_penetration", 0.001, 0.095, set()),
    (_raised, "floating", 0.001, 0.08, set()),
    (_merged, "person_penetration_volume", 0.0, 50, PEOPLE),
    (_merged, "person_penetration_frames", 0.0, 1, PEOPLE),
    (_stretched, "bone_error", 1e-5, 0.0499, set()),
    (_growing, "bone_drift", 1e-5, 0.024, {"bone_error", "foot_skate"}),
    (_jittered, "jerk", 90, 400, {"bone_drift", "foot_skate", "skate_ratio"}),
    (_jittered, "bone_drift", 1e-5, 0.035, {"jerk", "foot_skate", "skate_ratio"}),
    (_frozen, "stillness", 0.0, 1, {"foot_skate", "skate_ratio", "jerk", "root_speed"}),
    (_jumped, "root_speed", 1.3, 15, {"jerk", "foot_skate", "skate_ratio"}),
    (_bent, "joint_limits", 0.0, 1 / 23, set()),
]


@pytest.mark.parametrize(("plant", "measure", "before", "after", "relatives"), FAULTS)
def test_a_planted_fault_raises_its_measure_and_leaves_the_others(
    plant: Callable[[MotionSequence], MotionSequence], measure: str, before: float, after: float, relatives: set[str]
) -> None:
    """The others change by less than a tenth of what is called bad."""
    clean, faulty = plausibility(_walkers(), BODY), plausibility(plant(_walkers()), BODY)
    assert clean[measure] <= before + 1e-6
    assert faulty[measure] >= after - 1e-6
    threshold = MEASURES[measure].threshold
    assert threshold is not None
    if plant is not _slid:  # 5 cm/s is less than what real feet reach in a dance
        assert clean[measure] < threshold < faulty[measure]
    for name in set(MEASURES) - relatives - {measure} - IN_SCENE:
        assert abs(faulty[name] - clean[name]) < 0.1 * (MEASURES[name].threshold or 0), name


def test_real_clips_are_plausible_where_they_should_be() -> None:
    """Flips, runs and kicks jerk, dancers and fighters slide; no walking, crawling or getting up does."""
    for clip in deepmimic.list_clips():
        name = clip.id.removeprefix("deepmimic/humanoid3d_")
        values = plausibility(_clip(name), BODY)
        beyond = {name for name, m in MEASURES.items() if m.threshold is not None and values[name] > m.threshold}
        assert beyond <= {"jerk", "foot_skate", "skate_ratio"}, name
        if name in ("walk", "crawl", "jump", "getup_facedown", "getup_faceup"):
            assert not beyond, name


@pytest.mark.parametrize("fps", [10.0, 20.0, 60.0])
def test_speeds_are_per_second(fps: float) -> None:
    """GMD's skating is above 0.5 m/s at any frame rate; the mean speed is what it is."""
    for speed, skates in ((0.4, False), (0.6, True)):
        sequence = replace(_standing(), fps=fps)
        values = plausibility(_moved(sequence, _times(sequence) * [speed, 0, 0]), BODY)
        assert values["foot_skate"] == pytest.approx(speed, rel=1e-3)
        assert values["root_speed"] == pytest.approx(speed, rel=1e-3)
        assert (values["skate_ratio"] > 0.7) == skates


def test_only_those_who_stand_can_skate() -> None:
    """A person who lies on the floor, or sits with the feet in the air, and is moved does not skate."""
    lying = _standing()
    turn = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=np.float32)
    lying = replace(lying, joints=lying.joints @ turn.T + np.array([0, 0, 0.1], dtype=np.float32))
    values = plausibility(_moved(lying, _times(lying) * [0.6, 0, 0]), BODY)
    assert math.isnan(values["foot_skate"])
    assert values["skate_ratio"] == 0


def test_a_leap_is_no_floating_but_a_levitation_is() -> None:
    for seconds, floats in ((0.5, False), (0.65, False), (0.75, True), (1.0, True)):
        sequence = _standing(frames=61)
        up = ((_times(sequence) > 1) & (_times(sequence) <= 1 + seconds)) * np.array([0, 0, 0.4])
        assert (plausibility(_moved(sequence, up), BODY)["floating"] > 0.05) == floats


def test_furniture_holds_people_up() -> None:
    """A person counts as supported by their action, or by the scene under them."""
    high = _standing(height=0.5)
    assert plausibility(high, BODY)["floating"] == pytest.approx(0.5, abs=0.02)
    in_bed = replace(high, action=np.full_like(high.action, ACTIONS.index("sitting_on_bed_edge")))
    assert math.isnan(plausibility(in_bed, BODY)["floating"])
    x, y = np.meshgrid(np.arange(-1, 1, 0.02), np.arange(-1, 1, 0.02))
    top = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.49)], axis=1).astype(np.float32)
    table = scene_of(top, LABELS.index("bed"))
    on_table = plausibility(high, BODY, table)
    assert math.isnan(on_table["floating"])
    assert on_table["scene_penetration_frames"] == 0
    through = plausibility(_moved(high, np.array([0, 0, -0.9])), BODY, table)
    assert through["scene_penetration_frames"] == 1
    assert through["scene_penetration_volume"] > 0.5


@settings(max_examples=8)
@given(st.floats(-3, 3), st.floats(-20, 20))
def test_the_place_in_the_room_does_not_matter(angle: float, shift: float) -> None:
    turn = matrix_from_axis_angle(torch.tensor([0, 0, angle])).numpy()
    moved = transform(_walkers(), turn, np.array([shift, -shift, 0], dtype=np.float32), BODY)
    before, after = plausibility(_walkers(), BODY), plausibility(moved, BODY)
    for name in set(MEASURES) - IN_SCENE:
        assert after[name] == pytest.approx(before[name], rel=0.02, abs=1e-3), name


def test_neither_order_nor_side_of_people_matters() -> None:
    sequence = _beside(motion(BODY, lean=(0.4, 0, 0)), (0.1, 0.2, 0))
    values = plausibility(sequence, BODY)
    assert values["joint_limits"] > 0
    assert values["person_penetration_volume"] > 0
    arrays: dict[str, Any] = {name: getattr(sequence, name)[::-1].copy() for name in sequence.ARRAYS}
    swapped = replace(sequence, **arrays)
    assert plausibility(swapped, BODY) == pytest.approx(values, nan_ok=True)
    mirrored = plausibility(mirror(replace(sequence, scene_id=None), BODY), BODY)
    assert mirrored["joint_limits"] == pytest.approx(values["joint_limits"])
    assert mirrored["foot_skate"] == pytest.approx(values["foot_skate"], rel=0.01, nan_ok=True)


@pytest.mark.parametrize(
    ("joint", "turn", "allowed"),
    [
        ("left_knee", (120, 0, 0), True),
        ("left_knee", (-40, 0, 0), False),
        ("right_elbow", (0, 130, 0), True),
        ("left_elbow", (0, 130, 0), False),
        ("left_shoulder", (0, 0, -90), True),
        ("right_hip", (-110, 0, 0), True),
        ("right_hip", (80, 0, 0), False),
        ("left_hip", (0, 100, 0), False),
        ("neck", (0, 50, 0), True),
        ("head", (0, 120, 0), False),
        ("spine2", (90, 0, 0), False),
    ],
)
def test_joint_limits_know_the_directions(joint: str, turn: tuple[float, float, float], allowed: bool) -> None:
    sequence = _standing(frames=2)
    pose = sequence.body_pose.copy()
    pose[:, :, JOINT[joint] - 1] = matrix_from_axis_angle(
        torch.deg2rad(torch.tensor(turn, dtype=torch.float32))
    ).numpy()
    share = plausibility(replace(sequence, body_pose=pose), BODY)["joint_limits"]
    assert share == pytest.approx(0 if allowed else 1 / 23)


@settings(max_examples=30)
@given(st.floats(-3.1, 3.1), st.floats(-2.5, 2.5), st.floats(-3.1, 3.1))
def test_swing_and_twist_are_told_apart(twist: float, swing: float, direction: float) -> None:
    """A thigh, whose bone is along y, is turned about it, then swung about an axis across it."""
    across = swing * torch.tensor([math.cos(direction), 0, math.sin(direction)])
    rotation = matrix_from_axis_angle(across) @ matrix_from_axis_angle(torch.tensor([0, twist, 0]))
    angles = swing_and_twist(np.tile(rotation.numpy(), (23, 1, 1)))[JOINT["left_hip"] - 1]
    np.testing.assert_allclose(angles, across + torch.tensor([0, twist, 0]), atol=2e-3)


@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_short_clips_have_what_can_be_told(frames: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = plausibility(crop(_walkers(), 20, 20 + frames), BODY)
    unknown = {"jerk"} if frames < 4 else set()
    unknown |= {"foot_skate", "skate_ratio", "root_speed", "stillness"} if frames < 2 else set()
    assert {name for name, value in values.items() if math.isnan(value)} == unknown | IN_SCENE


def test_only_valid_frames_count() -> None:
    """A person who is never valid changes nothing, nor do frames in which a person is away."""
    both, alone = _walkers(), plausibility(_clip("walk"), BODY)
    never = both.valid.copy()
    never[1] = False
    assert plausibility(replace(both, valid=never), BODY) == pytest.approx(alone, nan_ok=True)
    some = _clip("walk").valid.copy()
    some[0, 15:20] = False
    wild = _clip("walk").joints.copy()
    wild[0, 15:20] += 50
    seen = plausibility(replace(_clip("walk"), valid=some, joints=wild), BODY)
    assert seen["jerk"] < 1.2 * alone["jerk"]
    assert seen["bone_drift"] < 1e-5
    assert seen["root_speed"] == pytest.approx(alone["root_speed"], rel=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nobody = plausibility(replace(both, valid=np.zeros_like(both.valid)), BODY)
    assert list(nobody) == list(MEASURES)
    assert all(math.isnan(value) for value in nobody.values())


def test_measures_hold_at_any_frame_rate() -> None:
    """They agree at 20 and 60 fps, but for jerk, which rises at the corners of interpolation, and a frame's skating."""
    slow = plausibility(_clip("walk"), BODY)
    for name, value in plausibility(resample(_clip("walk"), 60.0, BODY), BODY).items():
        if name not in IN_SCENE | PEOPLE | {"jerk", "skate_ratio"}:
            assert slow[name] == pytest.approx(value, abs=0.2 * (MEASURES[name].threshold or 0)), name


def test_a_collapsed_body_is_all_bone_error() -> None:
    values = plausibility(replace(_walkers(), joints=np.zeros_like(_walkers().joints)), BODY)
    assert values["bone_error"] == pytest.approx(1)
    assert {name for name, value in values.items() if math.isnan(value)} == IN_SCENE | {"foot_skate"}


def test_another_body_is_refused() -> None:
    with pytest.raises(InputError, match="its joints are those of body 'smpl', not 'default'"):
        plausibility(replace(_walkers(), body="smpl"), BODY)
