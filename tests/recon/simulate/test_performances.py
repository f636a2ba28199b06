"""Performances: clips sampled at any time, there and back, grounded and and walks along a path."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.clips.ground import lowest_skin
from motion.rotations import yaw_matrix
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, JOINT
from recon.simulate import performances
from recon.simulate.performances import Actor, fidget, grounded, of_clip, sample, there_and_back, walking
from tests.helpers.clips import motion

BODY = load_body()
MOVED = ["spine1", "spine2", "spine3", "neck", "head"] + [
    f"{side}_{name}" for side in ("left", "right") for name in ("collar", "shoulder", "elbow")
]


def actor(frames: int, fps: float = 10.0, size: float = 0.5) -> Actor:
    return Actor(BODY, torch.full((10,), size), fps, frames)


def first_person(clip: MotionSequence) -> MotionSequence:
    return replace(
        clip, **{name: getattr(clip, name)[:1] for name, spec in clip.ARRAYS.items() if spec.axes[0] == "person"}
    )


def test_clips_are_sampled_between_their_frames_and_held_beyond_their_ends() -> None:
    clip = motion(BODY, frames=21)
    pelvis, rotations = sample(clip, np.array([-1.0, 0.0, 0.25, 1.0, 7.0]), person=1)
    for place, frame in enumerate((0, 0, 5, 20, 20)):
        np.testing.assert_allclose(pelvis[place], clip.joints[1, frame, 0], atol=1e-5)
        np.testing.assert_allclose(rotations[place, 1:], clip.body_pose[1, frame], atol=1e-5)
    half, turned = sample(clip, np.array([0.275]), person=1)
    np.testing.assert_allclose(half[0], clip.joints[1, 5:7, 0].mean(axis=0), atol=1e-5)
    before, after = (turned[0] @ clip.parameters.rotations[1, frame].mT for frame in (5, 6))
    torch.testing.assert_close(before, after.mT, atol=1e-4, rtol=0)


@settings(max_examples=25)
@given(seed=st.integers(0, 999), length=st.floats(0.5, 5), speed=st.floats(0.3, 2), hold=st.floats(0.1, 2))
def test_times_run_to_the_end_and_back_and_pause_there(seed: int, length: float, speed: float, hold: float) -> None:
    steps = np.arange(4000) / 100
    times = there_and_back(np.random.default_rng(seed), steps, length, speed, hold)
    assert times[0] == 0
    assert times.min() >= 0
    assert times.max() <= length + 1e-9
    pace = np.abs(np.diff(times)) * 100
    assert pace.max() <= speed + 1e-6
    moving = np.abs(pace - speed) < 1e-6
    paused = pace < 1e-9
    assert (moving | paused).mean() > 0.9, "other steps hold an end of both"
    at = np.minimum(times, length - times)[:-1][paused]
    assert at.max(initial=0) < 1e-9, "pauses are at the ends"


def test_fidgeting_moves_trunk_and_arms_by_its_share(rng: np.random.Generator) -> None:
    someone, still = actor(30), torch.eye(3).repeat(30, 24, 1, 1)
    none, some, whole = (fidget(np.random.default_rng(4), someone, still, share) for share in (0.0, 0.25, 1.0))
    torch.testing.assert_close(none, still, atol=1e-6, rtol=0)
    assert torch.equal(whole[0], still[0])
    others = [joint for name, joint in JOINT.items() if name not in MOVED]
    assert torch.equal(whole[:, others], still[:, others])
    angles = [
        torch.rad2deg(torch.acos(((m.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))) for m in (some, whole)
    ]
    assert angles[1].max() > 20
    near = angles[1] < 150
    torch.testing.assert_close(4 * angles[0][near], angles[1][near], atol=0.5, rtol=0)


def test_a_grounded_performance_has_its_lowest_skin_where_it_is_told() -> None:
    one = first_person(motion(BODY, frames=9))
    heights = np.linspace(0, 0.4, 9).astype(np.float32)
    found = grounded(one, BODY, heights)
    np.testing.assert_allclose(lowest_skin(found, BODY)[0], heights, atol=1e-5)
    np.testing.assert_allclose(found.joints, found.parameters.joints(BODY), atol=1e-5)
    np.testing.assert_allclose(found.joints[..., :2], one.joints[..., :2])


def test_a_clip_is_performed_as_high_as_it_was_by_another_body(rng: np.random.Generator) -> None:
    clip = performances.clips(BODY)["getup_faceup"]
    found = of_clip(rng, actor(60), clip)
    assert abs(lowest_skin(found, BODY).min()) < 0.03
    np.testing.assert_allclose(found.betas[0], 0.5)
    heights, actions = found.joints[0, :, 0, 2], [ACTIONS[action] for action in found.action[0]]
    assert heights[0] < 0.4
    assert actions[0] in ("laying_on_floor", "sitting_on_floor")
    assert [action for height, action in zip(heights, actions, strict=True) if height > 0.75] or heights.max() < 0.75
    assert all(action == "standing_on_floor" for height, action in zip(heights, actions, strict=True) if height > 0.75)


def test_a_walk_follows_its_path_and_does_not_jump_where_the_clip_starts_anew(rng: np.random.Generator) -> None:
    """A quarter of a circle of 3 m, faced along, on bent and stretched legs that go on smoothly for 10 s."""
    frames = 200
    angle = np.linspace(0, np.pi / 2, frames)
    path = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = walking(rng, actor(frames, fps=20.0), path, angle, pace=1.0)
    np.testing.assert_allclose(found.joints[0, :, 0, :2], path, atol=1e-4)
    right = found.joints[0, :, JOINT["right_hip"]] - found.joints[0, :, JOINT["left_hip"]]
    ahead = np.stack([-right[:, 1], right[:, 0]], axis=1) / np.linalg.norm(right[:, :2], axis=1)[:, None]
    wanted = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    assert (ahead * wanted).sum(axis=1).min() > np.cos(np.radians(35)), "hips swing about the way"
    assert (ahead * wanted).sum(axis=1).mean() > np.cos(np.radians(12))
    turned = np.stack([yaw_matrix(-each) for each in angle])
    own = np.einsum("fij,fkj->fki", turned, found.joints[0] - found.joints[0, :, :1])
    assert np.linalg.norm(np.diff(own, axis=0), axis=-1).max() < 0.25
    np.testing.assert_allclose(lowest_skin(found, BODY)[0], 0, atol=1e-4)
    assert {ACTIONS[action] for action in found.action[0]} == {"standing_on_floor"}


def test_the_walking_speed_is_that_of_a_person() -> None:
    assert performances.walk_speed(BODY) == pytest.approx(1.2, abs=0.4)
