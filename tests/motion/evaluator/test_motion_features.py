"""Motion features of the evaluator: what a person sees of themselves and of others, and the mirror image."""

import numpy as np
import torch

from motion.body import Body
from motion.clips.augment import mirror
from motion.evaluator import mirror_features
from motion.evaluator.motion_features import NUM_FEATURES, Encoded, motion_features
from motion.sequence import MotionSequence
from tests.helpers.clips import random_clip


def test_mirrored_features_are_those_of_the_mirror_image(dance: MotionSequence, body: Body) -> None:
    features = torch.from_numpy(Encoded.of(dance).features)
    assert features.shape == (2, dance.num_frames, NUM_FEATURES)
    mirrored = torch.from_numpy(Encoded.of(mirror(dance, body)).features)
    error = (mirror_features(features) - mirrored).abs()
    assert error.max() < 0.05 * features.abs().max()  # the body is not quite symmetric
    assert error.mean() < 5e-3
    assert torch.equal(mirror_features(mirror_features(features)), features)


def in_own_frame(forward: np.ndarray, left: np.ndarray, up: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Place a body's points in the world, `facing` radians from +x; one row of points a frame."""
    plane = (forward + 1j * left) * np.exp(1j * facing)[:, None]
    return np.stack([plane.real, plane.imag, np.broadcast_to(up, plane.shape)], axis=-1)


def test_features_are_what_a_person_who_walks_and_turns_sees_of_themselves(body: Body) -> None:
    """A walks 0.1 m a frame, at 20 fps, as B, 2 m to the left, turns to the left by 0.05 rad a frame."""
    left, up, forward = body.rest_joints(torch.zeros(10)).numpy().T
    steps, nobody_turns = 0.1 * np.arange(5), np.full(5, 0.7)
    walker = in_own_frame(forward + steps[:, None], left, up, nobody_turns)
    turning = in_own_frame(forward, left, up, nobody_turns + 0.05 * np.arange(5))
    turning[..., :2] += walker[:1, :1, :2] - turning[:, :1, :2] + 2 * np.array([-np.sin(0.7), np.cos(0.7)])
    joints = np.stack([walker, turning]).astype(np.float32)
    features = motion_features(joints, np.ones((2, 5), dtype=np.bool_), 20.0)
    own, velocity = (features[..., part].reshape(2, 5, 24, 3) for part in (slice(0, 72), slice(72, 144)))
    upright = np.stack([forward - forward[0], left - left[0], up], axis=-1)
    np.testing.assert_allclose(own, np.broadcast_to(upright, own.shape), atol=1e-5)
    np.testing.assert_allclose(velocity[0, 1:], np.broadcast_to([2.0, 0, 0], (4, 24, 3)), atol=1e-4)
    np.testing.assert_allclose(velocity[1, 1:, 0], 0, atol=1e-4)
    assert not velocity[:, 0].any()
    np.testing.assert_allclose(features[:, :, 144], [[0] * 5, [0, 1, 1, 1, 1]], atol=1e-4)
    middle = np.stack([-steps / 2, np.ones(5)], axis=1)  # half the way to the other
    np.testing.assert_allclose(features[0, :, 145:147], middle, atol=1e-5)
    assert (features[..., 147] == 1).all()


def test_who_lies_on_their_side_faces_ahead(body: Body) -> None:
    """The line through the hips stands upright then, and tells no direction over the floor."""
    left, up, forward = body.rest_joints(torch.zeros(10)).numpy().T
    on_the_right = in_own_frame(forward, -up, left, np.array([0.4]))[None].astype(np.float32)
    features = motion_features(on_the_right, np.ones((1, 1), dtype=np.bool_), 20.0)
    own = features[0, 0, :72].reshape(24, 3)
    np.testing.assert_allclose(own, np.stack([forward - forward[0], up[0] - up, left], axis=-1), atol=0.05)


def test_nothing_is_said_of_who_is_not_there(body: Body) -> None:
    clip = random_clip(body, persons=2, frames=4)
    valid = np.array([[True, True, True, True], [False, False, True, False]])
    features = motion_features(clip.joints, valid, 20.0)
    assert not features[1, [0, 1, 3]].any()
    assert features[0, :, 147].tolist() == [0, 0, 1, 0], "so many others are there"
    assert not features[1, 2, 72:145].any(), "no velocity after a gap"
