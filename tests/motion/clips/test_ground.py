"""Floor of a clip: the lowest skin, and what of a motion says where the floor is."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.clips.ground import lowest_skin, settle
from motion.clips.transforms import crop, transform
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters
from tests.helpers.clips import UPRIGHT, assert_consistent, motion

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


def test_the_lowest_skin_is_that_of_the_mesh(body: Body, mimic: dict[str, MotionSequence]) -> None:
    above = []
    for clip in (motion(body, 5), motion(body, 5, lean=(0, -1.6, 0)), *mimic.values()):
        some = crop(clip, 0, min(20, clip.num_frames))
        skin = body.vertices(some.parameters)[..., 2].amin(dim=-1).numpy()
        above.append((lowest_skin(some, body) - skin).ravel())
    assert np.concatenate(above).min() > -1e-5
    assert np.concatenate(above).mean() < 3e-3
    assert np.concatenate(above).max() < 0.02


@settings(max_examples=15)
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
