"""Simulated annotations: the errors asked for, and no others."""

from dataclasses import replace

import numpy as np
import pytest

from motion.errors import InputError
from motion.skeleton import KEYPOINT_SETS
from recon.simulate import CLEAN, NOISY, AnnotationNoise, SimulateConfig, Simulated, annotate, simulate

NAMES = KEYPOINT_SETS["coco17"]


@pytest.fixture(scope="module")
def room() -> Simulated:
    return simulate(2, SimulateConfig(num_people=2, num_frames=40, image_size=(256, 192)))


@pytest.fixture
def seen(room: Simulated) -> Simulated:
    """Pretend that every person is seen whole all the time."""
    return replace(room, visible=np.ones_like(room.visible), seen=np.ones_like(room.seen))


def test_clean_annotations_are_the_truth(room: Simulated, rng: np.random.Generator) -> None:
    columns = [room.keypoint_names.index(name) for name in NAMES]
    for person, track in enumerate(annotate(room, NAMES, CLEAN, rng)):
        np.testing.assert_array_equal(track.present, room.seen[person] >= 0.1)
        np.testing.assert_array_equal(track.occluded, track.present & (room.seen[person] < 0.5))
        np.testing.assert_array_equal(track.boxes[track.present], room.boxes[person][track.present])
        np.testing.assert_array_equal(track.action[track.present], room.motion.action[person][track.present])
        assert track.person_class == room.motion.person_class[person]
        scores = track.keypoints[..., 2]
        np.testing.assert_array_equal(scores == 1, room.visible[person][:, columns] & track.present[:, None])
        assert set(np.unique(scores)) <= {np.float32(0), np.float32(0.3), np.float32(1)}
        known = scores > 0
        np.testing.assert_allclose(track.keypoints[..., :2][known], room.keypoints[person][:, columns][known])
        assert (track.keypoints[~known] == 0).all()


def test_noise_has_the_size_asked_for(seen: Simulated, rng: np.random.Generator) -> None:
    noise = AnnotationNoise(keypoint_noise=5.0)
    tracks = annotate(seen, NAMES, noise, rng)
    errors = _errors(seen, tracks)
    assert errors.std() == pytest.approx(5.0, rel=0.08)
    assert abs(errors.mean()) < 0.5


def test_guesses_are_twice_as_bad(seen: Simulated, rng: np.random.Generator) -> None:
    hidden = replace(seen, visible=np.zeros_like(seen.visible))
    errors = _errors(hidden, annotate(hidden, NAMES, AnnotationNoise(keypoint_noise=5.0), rng))
    assert errors.std() == pytest.approx(10.0, rel=0.08)


def test_shares_of_outliers_missing_and_swapped(seen: Simulated, rng: np.random.Generator) -> None:
    thrown = annotate(seen, NAMES, AnnotationNoise(outliers=0.1), rng)
    distance = np.linalg.norm(_errors(seen, thrown), axis=-1)
    assert (distance > 1).mean() == pytest.approx(0.1, abs=0.025)
    assert distance[distance > 1].min() >= 29.9
    assert distance.max() <= 60.1
    missing = annotate(seen, NAMES, AnnotationNoise(missing=0.2), rng)
    assert np.mean([track.keypoints[..., 2] == 0 for track in missing]) == pytest.approx(0.2, abs=0.03)
    swapped = annotate(seen, NAMES, AnnotationNoise(swapped=1.0), rng)
    left, right = NAMES.index("left_knee"), NAMES.index("right_knee")
    clean = annotate(seen, NAMES, CLEAN, rng)
    for bad, good in zip(swapped, clean, strict=True):
        np.testing.assert_array_equal(bad.keypoints[:, left], good.keypoints[:, right])
        np.testing.assert_array_equal(bad.keypoints[:, NAMES.index("nose")], good.keypoints[:, NAMES.index("nose")])


def test_boxes_shake_but_stay_boxes(seen: Simulated, rng: np.random.Generator) -> None:
    for person, track in enumerate(annotate(seen, NAMES, AnnotationNoise(box_jitter=0.05), rng)):
        true = seen.boxes[person]
        size = np.tile(true[:, 2:] - true[:, :2], 2)
        inner = (true > 1) & (true < np.array([255, 191, 255, 191]))
        assert ((track.boxes - true) / size)[inner].std() == pytest.approx(0.05, rel=0.3)
        assert (track.boxes[:, :2] < track.boxes[:, 2:]).all()
        assert track.boxes.min() >= 0


def test_same_seed_same_errors(room: Simulated) -> None:
    one, two = (annotate(room, NAMES, NOISY, np.random.default_rng(3)) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_aliases_and_unknown_names(room: Simulated, rng: np.random.Generator) -> None:
    track = annotate(room, ("mid_hip", "pelvis"), CLEAN, rng)[0]
    np.testing.assert_array_equal(track.keypoints[:, 0], track.keypoints[:, 1])
    with pytest.raises(InputError, match="tail"):
        annotate(room, ("tail",), CLEAN, rng)


def _errors(room: Simulated, tracks: tuple) -> np.ndarray:
    """Compute where keypoints inside the image were put relative to their true place."""
    columns = [room.keypoint_names.index(name) for name in NAMES]
    found = []
    for person, track in enumerate(tracks):
        known = track.keypoints[..., 2] > 0
        found.append((track.keypoints[..., :2] - room.keypoints[person][:, columns])[known])
    return np.concatenate(found)
