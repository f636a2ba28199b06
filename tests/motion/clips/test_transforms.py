"""One frame rate, floor, start and length for all, as identities on made-up smooth motion of two persons."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.clips.duplicates import SAME_M, find_duplicates, signature
from motion.clips.ground import lowest_skin, settle
from motion.clips.transforms import canonical_start, crop, cut, heading, resample, to_z_up, transform, windows
from motion.datasets.deepmimic import list_clips, read_clip
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters
from tests.helpers.clips import UPRIGHT, motion

ANGLES = st.floats(-3.1, 3.1)
FACE_UP = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # head towards -x


def standing(body: Body, heights: np.ndarray, orient: torch.Tensor = UPRIGHT) -> MotionSequence:
    """Pose persons at rest whose lowest skin is at `heights` (person, frame), but for the shape of each."""
    people, frames = heights.shape
    still = crop(motion(body, frames), 0, frames)
    arrays = [torch.from_numpy(array)[:people] for array in (still.transl, still.global_orient, still.body_pose)]
    transl, global_orient, body_pose = (torch.zeros_like(arrays[0]), orient.expand_as(arrays[1]), arrays[2])
    body_pose = torch.eye(3).expand_as(body_pose)
    betas = torch.from_numpy(still.betas)[:people]
    parameters = SmplParameters(transl, global_orient.clone(), body_pose.clone(), betas)
    lowest = body.vertices(parameters[:, :1])[..., 2].amin(dim=-1)
    transl[..., 2] = torch.from_numpy(heights).float() - lowest
    return replace(
        still,
        **parameters.posed_arrays(body),
        valid=still.valid[:people],
        person_class=still.person_class[:people],
        action=still.action[:people],
    )


def floor_of(sequence: MotionSequence, body: Body) -> float:
    """Compute the height that `settle` takes for the floor."""
    moved = settle(sequence, body).transl - sequence.transl
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:1, :1], moved.shape), atol=1e-5)
    np.testing.assert_allclose(moved[..., :2], 0, atol=1e-6)
    return -float(moved[0, 0, 2])


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body("default")


@pytest.fixture(scope="module")
def mimic(body: Body) -> dict[str, MotionSequence]:
    """Read five motions of DeepMimic at 20 fps."""
    pytest.importorskip("pybullet_data")
    names = [f"deepmimic/humanoid3d_{name}" for name in ("crawl", "getup_faceup", "jump", "run", "walk")]
    clips = [read_clip(clip, body) for clip in list_clips() if clip.id in names]
    return {clip.id: resample(clip, 20.0, body) for clip in clips}


def assert_consistent(sequence: MotionSequence, body: Body) -> None:
    """Assert that forward kinematics of the parameters gives the joints."""
    np.testing.assert_allclose(sequence.parameters.joints(body).numpy(), sequence.joints, atol=1e-5)


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


def test_z_up_turns_and_does_not_mirror() -> None:
    axes = to_z_up(torch.eye(3))
    assert torch.linalg.det(axes) == 1
    assert to_z_up(torch.tensor([1.0, 2.0, 3.0])).tolist() == [1, -3, 2]


@settings(max_examples=25, deadline=None)
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


def test_the_lowest_skin_is_that_of_the_mesh(body: Body, mimic: dict[str, MotionSequence]) -> None:
    above = []
    for clip in (motion(body, 5), motion(body, 5, lean=(0, -1.6, 0)), *mimic.values()):
        some = crop(clip, 0, min(20, clip.num_frames))
        skin = body.vertices(some.parameters)[..., 2].amin(dim=-1).numpy()
        above.append((lowest_skin(some, body) - skin).ravel())
    assert np.concatenate(above).min() > -1e-5
    assert np.concatenate(above).mean() < 3e-3
    assert np.concatenate(above).max() < 0.02


@settings(max_examples=15, deadline=None)
@given(height=st.floats(-3, 3), seed=st.integers(0, 3))
def test_settling_does_not_ask_how_high_a_clip_was_and_twice_is_once(height: float, seed: int) -> None:
    body = load_body("default")
    sequence = motion(body, 21, seed)
    once = settle(sequence, body)
    assert_consistent(once, body)
    up = transform(sequence, np.eye(3, dtype=np.float32), np.array([0, 0, height], dtype=np.float32), body)
    np.testing.assert_allclose(settle(up, body).joints, once.joints, atol=1e-4)
    np.testing.assert_allclose(settle(once, body).joints, once.joints, atol=1e-4)


def test_standing_people_of_any_shape_stand_on_the_floor(body: Body) -> None:
    assert abs(floor_of(standing(body, np.full((2, 30), 0.7)), body) - 0.7) < 0.02
    assert abs(floor_of(standing(body, np.full((1, 30), 0.7), FACE_UP), body) - 0.7) < 0.01


def test_dives_leaps_and_noise_leave_the_floor_where_it_is(body: Body, rng: np.random.Generator) -> None:
    level = np.full((2, 100), 0.4)
    dive = level.copy()
    dive[0, 50:53] -= 0.3
    leaps = level + np.maximum(0, np.sin(np.arange(100) / 4))
    noisy = level + rng.normal(0, [[0.01], [0.03]], level.shape)
    for heights in (dive, leaps, noisy):
        assert abs(floor_of(standing(body, heights), body) - 0.4) < 0.025


def test_the_floor_is_beside_the_bed_and_below_the_stairs(body: Body) -> None:
    time = np.arange(200)
    bed = np.where(time < 180, 0.9, 0.4)[None]
    stairs = (0.4 + 0.18 * (time // 20))[None]
    beside = np.stack([np.full(200, 0.9), np.full(200, 0.4)])
    for heights in (bed, stairs, stairs[:, ::-1].copy(), beside):
        assert abs(floor_of(standing(body, heights), body) - 0.4) < 0.02


def test_who_is_not_there_has_no_say_in_the_floor(body: Body) -> None:
    clip = standing(body, np.stack([np.full(40, 0.4), np.full(40, -5.0)]))
    alone = replace(clip, valid=clip.valid & [[True], [False]])
    assert abs(floor_of(alone, body) - 0.4) < 0.02
    nobody = replace(clip, valid=np.zeros_like(clip.valid))
    assert settle(nobody, body) is nobody


def test_motion_capture_on_the_floor_stays_there(body: Body, mimic: dict[str, MotionSequence]) -> None:
    assert max(abs(floor_of(clip, body)) for clip in mimic.values()) < 0.015


def test_motion_capture_survives_30_fps(body: Body, mimic: dict[str, MotionSequence]) -> None:
    for clip in mimic.values():
        again = resample(resample(clip, 30.0, body), 20.0, body)
        frames = again.num_frames
        assert frames >= clip.num_frames - 1
        assert np.linalg.norm(again.joints - clip.joints[:, :frames], axis=-1).mean() < 5e-3


def signatures(*clips: MotionSequence) -> np.ndarray:
    return np.stack([signature(clip) for clip in clips])


@settings(max_examples=15, deadline=None)
@given(angle=ANGLES, x=st.floats(-9, 9), seed=st.integers(0, 3), frames=st.integers(1, 60))
def test_a_copy_elsewhere_has_the_same_signature(angle: float, x: float, seed: int, frames: int) -> None:
    body = load_body("default")
    sequence = motion(body, frames, seed)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle])).numpy()
    copy = transform(sequence, turn, np.array([x, 2, 0.3], dtype=np.float32), body)
    np.testing.assert_allclose(signature(copy), signature(sequence), atol=1e-4)


def test_copies_are_found_and_name_the_first(body: Body, rng: np.random.Generator) -> None:
    first, other = motion(body, 60), motion(body, 60, seed=1)
    noisy = replace(first, joints=first.joints + rng.normal(0, 1e-4, first.joints.shape).astype(np.float32))
    slower = resample(first, 30.0, body)
    shorter = crop(first, 0, 59)
    swapped = replace(first, **{name: getattr(first, name)[::-1].copy() for name in ("joints", "global_orient")})
    found = find_duplicates(list("abcdef"), signatures(first, other, noisy, slower, shorter, swapped))
    assert found == dict.fromkeys("cdef", "a")


def test_other_motions_of_a_kind_are_no_copies(body: Body, mimic: dict[str, MotionSequence]) -> None:
    clip = motion(body, 60)
    parts = [crop(clip, 0, 50), crop(clip, 5, 60), *mimic.values()]
    assert find_duplicates(list("abcdefgh"), signatures(clip, *parts)) == {}


def test_what_is_near_a_copy_only_is_kept() -> None:
    steps = np.array([[0.0], [0.9], [1.8], [2.7]], dtype=np.float32) * SAME_M
    assert find_duplicates(list("abcd"), steps) == {"b": "a", "d": "c"}
