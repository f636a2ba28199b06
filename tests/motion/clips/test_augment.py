"""Mirror, turn, shift and change of speed as identities on smooth motion of two persons."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.clips.augment import change_speed, mirror, random_crop, translate, yaw
from motion.clips.transforms import heading
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, LEFT, RIGHT
from tests.helpers.clips import motion

ANGLES = st.floats(-7, 7)


@pytest.fixture(scope="module")
def lopsided(body: Body) -> Body:
    """Make a body whose rest joints lie up to some centimetres off the symmetric ones."""
    generator = torch.Generator().manual_seed(0)
    return replace(body, joint_template=body.joint_template + 0.02 * torch.randn(24, 3, generator=generator))


def clip(body: Body, frames: int = 7, seed: int = 0) -> MotionSequence:
    """Make two persons with captions, at 20 fps."""
    texts = ["turns left", "waves with the Right hand, counterclockwise"]
    return replace(motion(body, frames, seed), texts=texts)


def assert_consistent(sequence: MotionSequence, body: Body) -> None:
    """Assert that forward kinematics of the parameters gives the joints."""
    np.testing.assert_allclose(sequence.parameters.joints(body).numpy(), sequence.joints, atol=1e-4)


def assert_same(one: MotionSequence, other: MotionSequence, atol: float = 1e-5) -> None:
    for name in MotionSequence.ARRAYS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, err_msg=name)
    assert (one.texts, one.id, one.fps) == (other.texts, other.id, other.fps)


@settings(max_examples=15)
@given(seed=st.integers(0, 99), frames=st.integers(1, 9))
def test_a_mirror_shows_left_as_right_and_twice_nothing(seed: int, frames: int) -> None:
    body = load_body("default")
    sequence = clip(body, frames, seed)
    mirrored = mirror(sequence, body)
    expected = sequence.joints * np.array([-1, 1, 1], dtype=np.float32)
    np.testing.assert_allclose(mirrored.joints[:, :, LEFT], expected[:, :, RIGHT], atol=1e-5)
    np.testing.assert_allclose(mirrored.joints[:, :, JOINT["head"]], expected[:, :, JOINT["head"]], atol=1e-5)
    assert_consistent(mirrored, body)
    assert_same(mirror(mirrored, body), sequence)


def test_a_body_that_is_not_symmetric_keeps_its_bones(lopsided: Body) -> None:
    sequence = clip(lopsided)
    mirrored = mirror(sequence, lopsided)
    assert_consistent(mirrored, lopsided)
    np.testing.assert_allclose(mirrored.joints[..., 0, 0], -sequence.joints[..., 0, 0], atol=1e-5)
    assert_same(mirror(mirrored, lopsided), sequence)
    flipped = sequence.joints * np.array([-1, 1, 1], dtype=np.float32)
    off = np.linalg.norm(mirrored.joints[:, :, LEFT] - flipped[:, :, RIGHT], axis=-1)
    assert 1e-3 < off.mean() < 0.2


def test_the_caption_and_the_heading_are_mirrored_too(body: Body) -> None:
    sequence = clip(body)
    mirrored = mirror(sequence, body)
    assert mirrored.texts == ["turns right", "waves with the Left hand, clockwise"]
    before, after = (heading(c.joints[0, 0], c.global_orient[0, 0]) for c in (sequence, mirrored))
    np.testing.assert_allclose(after, before * [-1, 1], atol=0.02)


@settings(max_examples=15)
@given(angle=ANGLES, x=st.floats(-9, 9), y=st.floats(-9, 9))
def test_there_and_back_again(angle: float, x: float, y: float) -> None:
    body = load_body("default")
    sequence, offset = clip(body), np.array([x, y], dtype=np.float32)
    for moved, back in (
        (yaw(sequence, angle, body), lambda c: yaw(c, -angle, body)),
        (translate(sequence, offset, body), lambda c: translate(c, -offset, body)),
    ):
        assert_consistent(moved, body)
        np.testing.assert_allclose(moved.joints[..., 2], sequence.joints[..., 2], atol=1e-5)
        assert_same(back(moved), sequence, atol=1e-4)


def test_a_quarter_turn_and_a_step(body: Body) -> None:
    sequence = clip(body)
    turned = yaw(sequence, np.pi / 2, body)
    x, y, z = np.moveaxis(sequence.joints, -1, 0)
    np.testing.assert_allclose(turned.joints, np.stack([-y, x, z], axis=-1), atol=1e-5)
    moved = translate(sequence, np.array([1, -2], dtype=np.float32), body)
    np.testing.assert_allclose(moved.joints, sequence.joints + np.array([1, -2, 0]), atol=1e-5)
    assert turned.texts == moved.texts == sequence.texts


@settings(max_examples=15)
@given(angle=ANGLES, seed=st.integers(0, 9))
def test_a_turn_in_the_mirror_goes_the_other_way(angle: float, seed: int) -> None:
    body = load_body("default")
    sequence = clip(body, 3, seed)
    assert_same(mirror(yaw(sequence, angle, body), body), yaw(mirror(sequence, body), -angle, body), atol=1e-4)


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.8, 1.0, 1.3, 2.0])
def test_a_change_of_speed(factor: float, body: Body) -> None:
    sequence = clip(body, 41)
    changed = change_speed(sequence, factor, body)
    assert_consistent(changed, body)
    assert (changed.fps, changed.num_frames) == (20.0, int(40 / factor + 1e-6) + 1)
    assert changed.texts == sequence.texts
    back = change_speed(changed, 1 / factor, body)
    frames = back.num_frames
    assert frames >= 40 - 1 / factor
    off = np.linalg.norm(back.joints - sequence.joints[:, :frames], axis=-1)
    assert off.mean() < 5e-3


def test_twice_as_fast_is_every_other_frame(body: Body) -> None:
    sequence = clip(body, 41)
    sequence = replace(sequence, valid=np.arange(41) > np.array([[-1], [21]]))
    fast = change_speed(sequence, 2.0, body)
    assert fast.fps == sequence.fps
    for name in ("transl", "joints", "action", "valid"):
        np.testing.assert_allclose(getattr(fast, name), getattr(sequence, name)[:, ::2], atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(factor: float, body: Body) -> None:
    with pytest.raises(InputError, match="expected a positive factor"):
        change_speed(clip(body), factor, body)


STEPS: list[Callable[[MotionSequence, Body], MotionSequence]] = [
    mirror,
    lambda sequence, body: yaw(sequence, 1.0, body),
    lambda sequence, body: translate(sequence, np.ones(2, dtype=np.float32), body),
]


@pytest.mark.parametrize("step", STEPS)
def test_a_clip_with_a_scene_or_another_body_is_refused(
    step: Callable[[MotionSequence, Body], MotionSequence], body: Body
) -> None:
    with pytest.raises(InputError, match="belongs into scene 'room'"):
        step(replace(clip(body), scene_id="room"), body)
    with pytest.raises(InputError, match="body 'smpl-male', not 'default'"):
        step(replace(clip(body), body="smpl-male"), body)


def test_a_random_window_starts_anew_and_the_seed_says_where(body: Body) -> None:
    sequence = clip(body, 41)
    windows = [random_crop(sequence, 10, body, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    for window in windows:
        assert window.num_frames == 10
        assert_consistent(window, body)
        np.testing.assert_allclose(window.joints[0, 0, 0, :2], 0, atol=1e-5)
    np.testing.assert_array_equal(windows[0].joints, windows[1].joints)
    assert windows[0].action[0, 0] != windows[2].action[0, 0]
    assert random_crop(sequence, 41, body, np.random.default_rng(0)) is sequence
