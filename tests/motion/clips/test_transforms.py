"""One frame rate, start and length for all, as identities on made-up smooth motion of two persons."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.clips.transforms import MOVED, canonical_start, cut, heading, resample, to_z_up, windows
from motion.errors import InputError
from motion.sequence import MotionSequence
from tests.helpers.clips import UPRIGHT, assert_consistent, motion

ANGLES = st.floats(-3.1, 3.1)


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


@settings(max_examples=20)
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


def test_actions_and_presence_are_those_of_the_nearest_frame(body: Body) -> None:
    sequence = motion(body, 5)
    action, valid = np.tile([3, 1, 4, 2, 5], (2, 1)).astype(np.int8), np.tile([True, False, True, True, False], (2, 1))
    new = resample(replace(sequence, action=action, valid=valid), 60.0, body)
    nearest = [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    np.testing.assert_array_equal(new.action, action[:, nearest])
    np.testing.assert_array_equal(new.valid, valid[:, nearest])


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


@settings(max_examples=25)
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


def test_a_motion_moved_out_of_its_scene_says_so(body: Body) -> None:
    sequence = motion(body, 2)
    seen = canonical_start(replace(sequence, scene_id="room", provenance={"seed": "0"}), body)
    assert (seen.scene_id, seen.provenance.keys()) == ("room", {"seed", MOVED})
    assert canonical_start(replace(sequence, scene_id=None, provenance={}), body).provenance == {}


def test_z_up_turns_and_does_not_mirror() -> None:
    axes = to_z_up(torch.eye(3))
    assert torch.linalg.det(axes) == 1
    assert to_z_up(torch.tensor([1.0, 2.0, 3.0])).tolist() == [1, -3, 2]


@settings(max_examples=25)
@given(first=st.integers(0, 8), count=st.integers(1, 8))
def test_cut_and_resample_in_either_order(first: int, count: int) -> None:
    body = load_body("default")
    sequence = motion(body, 41)
    start, stop = first / 10, (first + count) / 10
    one = resample(cut(sequence, start, stop), 10.0, body)
    other = cut(resample(sequence, 10.0, body), start, stop)
    assert one.num_frames == other.num_frames == count
    np.testing.assert_allclose(one.joints, other.joints, atol=1e-5)
    np.testing.assert_array_equal(one.action, other.action)


def test_a_cut_is_taken_to_the_nearest_frame(body: Body) -> None:
    sequence = motion(body, 41)
    np.testing.assert_array_equal(cut(sequence, 0.52, 1.01).joints, sequence.joints[:, 10:20])
    np.testing.assert_array_equal(cut(sequence, 0.0, 2.07).joints, sequence.joints)


@pytest.mark.parametrize("span", [(0.5, 0.5), (0.5, 0.51), (1.0, 0.5), (-0.1, 1.0), (1.0, 2.1)])
def test_a_cut_that_is_empty_or_beyond_the_clip_is_refused(span: tuple[float, float], body: Body) -> None:
    with pytest.raises(InputError, match="is 2.05 s long, expected to hold"):
        cut(motion(body, 41), *span)


@given(seconds=st.floats(0.05, 1000), longest=st.floats(0.5, 60))
def test_windows_are_few_and_alike_and_lie_end_to_end(seconds: float, longest: float) -> None:
    spans = windows(seconds, longest)
    assert spans[0][0] == 0
    assert spans[-1][1] == pytest.approx(seconds)
    assert all(stop == start for (_, stop), (start, _) in pairwise(spans))
    lengths = [stop - start for start, stop in spans]
    assert max(lengths) <= longest * (1 + 1e-5)
    assert max(lengths) - min(lengths) < 1e-9 * seconds
    assert len(spans) == 1 or seconds / (len(spans) - 1) > longest


@pytest.mark.parametrize("longest", [2.0, 7.3, 20.0])
def test_windows_cut_every_frame_once(longest: float, body: Body) -> None:
    sequence = motion(body, 137)
    pieces = [cut(sequence, *span) for span in windows(137 / 20, longest)]
    np.testing.assert_array_equal(np.concatenate([piece.joints for piece in pieces], axis=1), sequence.joints)
    assert max(piece.num_frames for piece in pieces) <= longest * 20


def test_motion_capture_survives_30_fps(body: Body, mimic: dict[str, MotionSequence]) -> None:
    for clip in mimic.values():
        again = resample(resample(clip, 30.0, body), 20.0, body)
        frames = again.num_frames
        assert frames >= clip.num_frames - 1
        assert np.linalg.norm(again.joints - clip.joints[:, :frames], axis=-1).mean() < 5e-3
