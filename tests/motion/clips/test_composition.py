"""Scenes composed of clips: all persons are there, move as before, and stand apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.clips.composition import APART_M, compose
from motion.clips.transforms import check_body
from motion.sequence import MotionSequence
from tests.helpers.clips import UPRIGHT, random_clip, simulated

BODY = load_body()


@pytest.fixture(scope="module")
def clips() -> list[MotionSequence]:
    sizes = [(1, 7), (2, 5), (1, 9)]
    made = [random_clip(BODY, persons, frames, seed, f"clip{seed}") for seed, (persons, frames) in enumerate(sizes)]
    return [replace(clip, scene_id=None, texts=[clip.id]) for clip in made]


def test_everybody_is_there_as_long_as_before(clips: list[MotionSequence]) -> None:
    scene = compose(clips, BODY, np.random.default_rng(0))
    assert scene.joints.shape == (4, 9, 24, 3)
    assert scene.valid.sum(axis=1).tolist() == [7, 5, 5, 9]
    assert (scene.id, scene.texts) == ("clip0+clip1+clip2", ["clip0", "clip1", "clip2"])
    check_body(scene, BODY)
    np.testing.assert_allclose(scene.parameters.joints(BODY).numpy(), scene.joints, atol=1e-4)


def test_clips_are_moved_as_a_whole_and_the_first_not_at_all(clips: list[MotionSequence]) -> None:
    """Heights and all distances between joints of one clip stay, those of its two persons too."""
    scene = compose(clips, BODY, np.random.default_rng(1))
    np.testing.assert_array_equal(scene.joints[0, :7], clips[0].joints[0])
    pair, placed = clips[1].joints, scene.joints[1:3, :5]
    np.testing.assert_allclose(placed[..., 2], pair[..., 2], atol=1e-5)
    np.testing.assert_allclose(_distances(placed), _distances(pair), atol=1e-4)
    assert np.abs(placed - pair).max() > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_people_of_different_clips_stay_apart(clips: list[MotionSequence], seed: int) -> None:
    scene = compose([clips[0], clips[1], clips[2], clips[0]], BODY, np.random.default_rng(seed))
    groups = [[0], [1, 2], [3], [4]]
    for i, one in enumerate(groups):
        for other in groups[i + 1 :]:
            for a in one:
                for b in other:
                    both = scene.valid[a] & scene.valid[b]
                    tracks = scene.joints[a, both, :, None, :2] - scene.joints[b, both, None, :, :2]
                    assert np.linalg.norm(tracks, axis=-1).min() >= APART_M - 1e-4


def standing(frames: int = 1, valid: bool = True) -> MotionSequence:
    """Pose one person at the world's origin, facing +x."""
    turned, pose = UPRIGHT.expand(1, frames, 3, 3), torch.eye(3).expand(1, frames, 23, 3, 3)
    pelvis = BODY.rest_joints(torch.zeros(10))[0]
    made = simulated(BODY, (-UPRIGHT @ pelvis).expand(1, frames, 3), turned, pose, torch.zeros(1, 10))
    return replace(made, valid=np.full((1, frames), valid))


def test_clips_start_all_around_the_first_at_all_distances_and_turned_all_ways() -> None:
    """Nothing is in their way here, so that they stay where they were first put: 0.8 to 3 m from the first."""
    scenes = [compose([standing(valid=False), standing()], BODY, np.random.default_rng(seed)) for seed in range(80)]
    pelvis = np.array([scene.joints[1, 0, 0, :2] for scene in scenes]).astype(np.float64)
    forward = np.array([scene.global_orient[1, 0, :2, 2] for scene in scenes]).astype(np.float64)
    distance = np.linalg.norm(pelvis, axis=-1)
    assert 0.8 <= distance.min() < 1.0
    assert 2.8 < distance.max() <= 3.0 + 1e-5
    for directions in (pelvis, forward):
        eighths = np.floor(np.arctan2(*directions.T) / (np.pi / 4)).astype(int)
        assert np.bincount(eighths + 4, minlength=8)[:8].min() >= 3


@pytest.mark.parametrize(("first", "second"), [(True, True), (False, True), (True, False)])
def test_only_who_is_there_is_in_the_way(first: bool, second: bool) -> None:
    """One person's joints fill a square of 9 m; the other finds room within only where either is away."""
    places = np.stack(np.meshgrid(*2 * [np.arange(-4.5, 4.6, 0.25)]), axis=-1).reshape(-1, 2)
    frames = -(-len(places) // 24)
    filling, other = standing(frames, first), standing(frames, second)
    joints = filling.joints.copy()
    joints[0, ..., :2] = np.resize(places, (frames, 24, 2))
    scene = compose([replace(filling, joints=joints), other], BODY, np.random.default_rng(0))
    assert (np.linalg.norm(scene.joints[1, 0, 0, :2]) > 3.001) == (first and second)


def test_the_same_seed_gives_the_same_scene(clips: list[MotionSequence]) -> None:
    one, same, other = (compose(clips, BODY, np.random.default_rng(seed)).joints for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def _distances(joints: np.ndarray) -> np.ndarray:
    flat = joints.reshape(-1, 3)
    return np.linalg.norm(flat[:, None] - flat[None], axis=-1)
