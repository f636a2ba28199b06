"""Resampling and the canonical start, as identities on made-up smooth motion of two people."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.datasets.unify import canonical_start, heading, resample
from motion.errors import InputError
from motion.sequence import MotionSequence

UPRIGHT = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # SMPL's axes, facing +x
ANGLES = st.floats(-3.1, 3.1)


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body("default")


def motion(body: Body, frames: int = 41, seed: int = 0, lean: tuple[float, float, float] = (0, 0, 0)) -> MotionSequence:
    """Two people whose every rotation and position is a slow sine; person 0 starts turned by `lean`."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames) / 20
    swing = torch.sin(2 * time[None, :, None, None] + 6 * torch.rand(2, 1, 24, 1, generator=generator))
    pose = roma.rotvec_to_rotmat(0.4 * swing * torch.randn(2, 1, 24, 3, generator=generator))
    turn = roma.rotvec_to_rotmat(torch.tensor(lean, dtype=torch.float32))
    orient = turn @ UPRIGHT @ pose[:, :, 0]
    transl = torch.randn(2, 1, 3, generator=generator) + torch.stack([time, torch.sin(time), 0 * time], dim=-1)
    betas = 0.5 * torch.randn(2, 10, generator=generator)
    joints = body.joints(transl, orient, pose[:, :, 1:], betas)
    return MotionSequence(
        id="made/up",
        source="simulated",
        split="train",
        fps=20.0,
        transl=transl.numpy(),
        global_orient=orient.numpy(),
        body_pose=pose[:, :, 1:].numpy(),
        betas=betas.numpy(),
        joints=joints.numpy(),
        body=body.name,
        valid=np.ones((2, frames), dtype=np.bool_),
        person_class=np.ones(2, dtype=np.int8),
        action=np.tile(np.arange(frames) // 10, (2, 1)).astype(np.int8),
    )


def assert_consistent(sequence: MotionSequence, body: Body) -> None:
    """Forward kinematics of the parameters gives the joints."""
    pose = (sequence.transl, sequence.global_orient, sequence.body_pose, sequence.betas)
    joints = body.joints(*(torch.from_numpy(array) for array in pose))
    np.testing.assert_allclose(joints.numpy(), sequence.joints, atol=1e-5)


def test_the_same_rate_is_the_same_record(body: Body) -> None:
    sequence = motion(body)
    assert resample(sequence, 20.0, body) is sequence


def test_up_and_down_again_is_the_motion(body: Body) -> None:
    sequence = motion(body)
    faster = resample(sequence, 30.0, body)
    again = resample(faster, 20.0, body)
    assert (faster.num_frames, faster.fps, again.num_frames) == (61, 30.0, 41)
    assert np.linalg.norm(again.joints - sequence.joints, axis=-1).mean() < 5e-3
    np.testing.assert_allclose(faster.joints[:, ::3], sequence.joints[:, ::2], atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(fps=st.floats(3, 120), frames=st.integers(1, 30))
def test_any_rate_gives_a_consistent_record_of_the_same_length(fps: float, frames: int) -> None:
    body = load_body("default")
    sequence = motion(body, frames)
    new = resample(sequence, fps, body)
    assert_consistent(new, body)
    lost = (frames - 1) / 20 - (new.num_frames - 1) / fps
    assert -1e-6 < lost < 1 / fps
    np.testing.assert_allclose(new.joints[:, 0], sequence.joints[:, 0], atol=1e-5)


def test_every_other_frame_is_taken_as_it_is(body: Body) -> None:
    sequence = motion(body)
    half = resample(sequence, 10.0, body)
    np.testing.assert_allclose(half.global_orient, sequence.global_orient[:, ::2], atol=1e-5)
    np.testing.assert_array_equal(half.action, sequence.action[:, ::2])


def test_nothing_is_mixed_with_an_invalid_frame(body: Body) -> None:
    sequence = motion(body)
    valid, transl = sequence.valid.copy(), sequence.transl.copy()
    valid[0, 20:], transl[0, 20:] = False, 1e3
    new = resample(replace(sequence, valid=valid, transl=transl), 30.0, body)
    assert np.abs(new.transl[new.valid]).max() < 10
    np.testing.assert_array_equal(new.valid[0], np.arange(61) < 29.5)
    assert new.valid[1].all()


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(fps: float, body: Body) -> None:
    with pytest.raises(InputError, match="expected a positive number"):
        resample(motion(body, 2), fps, body)


def test_another_body_is_refused(body: Body) -> None:
    other = replace(motion(body, 2), body="smpl-male")
    for step in (lambda: resample(other, 30.0, body), lambda: canonical_start(other, body)):
        with pytest.raises(InputError, match="body 'smpl-male', not 'default'"):
            step()


@settings(max_examples=25, deadline=None)
@given(lean=st.tuples(ANGLES, ANGLES, ANGLES), seed=st.integers(0, 5))
def test_canonical_start_is_rigid_and_twice_is_once(lean: tuple[float, float, float], seed: int) -> None:
    body = load_body("default")
    sequence = motion(body, 5, seed, lean)
    once = canonical_start(sequence, body)
    np.testing.assert_allclose(once.joints[0, 0, 0, :2], 0, atol=1e-5)
    np.testing.assert_allclose(heading(once.joints[0, 0], once.global_orient[0, 0]), [0, 1], atol=1e-4)
    np.testing.assert_allclose(once.joints[..., 2], sequence.joints[..., 2], atol=1e-5)
    assert_consistent(once, body)
    for joints in (sequence.joints, once.joints):
        points = joints.reshape(-1, 3).astype(np.float64)
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
        if joints is sequence.joints:
            before = distances
    np.testing.assert_allclose(distances, before, atol=1e-5)
    twice = canonical_start(once, body)
    np.testing.assert_allclose(twice.joints, once.joints, atol=1e-4)
    np.testing.assert_allclose(twice.transl, once.transl, atol=1e-4)


@pytest.mark.parametrize(
    ("lean", "expected"),
    [
        ((0.0, 0.0, 0.0), [1, 0]),
        ((0.0, 0.0, np.pi / 2), [0, 1]),
        ((0.0, -np.pi / 2, 0.0), [1, 0]),  # on the back, head towards -x: getting up it will face +x
        ((0.0, np.pi / 2, 0.0), [1, 0]),  # on the belly, head towards +x
        ((np.pi / 2, 0.0, 0.0), [1, 0]),  # on the side
    ],
)
def test_heading_stays_defined_lying_down(lean: tuple[float, float, float], expected: list[int], body: Body) -> None:
    turn = roma.rotvec_to_rotmat(torch.tensor(lean, dtype=torch.float32))
    rest = body.rest_joints(torch.zeros(10)) @ (turn @ UPRIGHT).T
    np.testing.assert_allclose(heading(rest.numpy(), (turn @ UPRIGHT).numpy()), expected, atol=0.02)


def test_the_start_is_the_first_frame_that_is_valid(body: Body) -> None:
    sequence = motion(body, 9)
    valid = sequence.valid.copy()
    valid[0, :4] = False
    new = canonical_start(replace(sequence, valid=valid), body)
    np.testing.assert_allclose(new.joints[0, 4, 0, :2], 0, atol=1e-5)
