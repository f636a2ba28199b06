"""Memorisation: copies of training clips are found however they are turned, shifted and cropped; others are not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.clips.augment import mirror, translate, yaw
from motion.clips.transforms import crop
from motion.errors import InputError
from motion.metrics import memorisation
from motion.metrics.memorisation import build_index, nearest
from motion.sequence import MotionSequence
from tests.helpers.clips import motion

BODY = load_body()
CLIPS = [replace(motion(BODY, frames=61, seed=seed), id=str(seed)) for seed in range(12)]
INDEX = build_index(CLIPS)


def noisy(sequence: MotionSequence, size: float) -> MotionSequence:
    """Add Gaussian noise of `size` metres a coordinate to the joints."""
    noise = np.random.default_rng(0).normal(0, size, sequence.joints.shape)
    return replace(sequence, joints=(sequence.joints + noise).astype(np.float32))


@settings(max_examples=25)
@given(
    place=st.integers(0, len(CLIPS) - 1),
    angle=st.floats(-np.pi, np.pi),
    offset=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
    start=st.integers(0, 8),
)
def test_a_copy_is_found(place: int, angle: float, offset: tuple[float, float], start: int) -> None:
    sample = crop(CLIPS[place], 5 * start, 61)
    sample = translate(yaw(sample, angle, BODY), np.array(offset, dtype=np.float32), BODY)
    found = nearest(INDEX, sample)
    assert found is not None
    assert found.id == str(place)
    assert found.distance < 1e-5


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_turn_is_the_best_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one_person = replace(crop(CLIPS[0], 0, 20), valid=np.array([[True] * 20, [False] * 20]))
    window, other = (replace(one_person, joints=rng.normal(size=(2, 20, 24, 3)).astype(np.float32)) for _ in range(2))
    found = nearest(build_index([window]), other)
    assert found is not None
    x, y = ((w.joints[0] - w.joints[0].mean(axis=(0, 1)) * [1, 1, 0]).astype(np.float64) for w in (window, other))
    tried = []
    for angle in np.linspace(-np.pi, np.pi, 721):
        cos, sin = np.cos(angle), np.sin(angle)
        turned = y @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        tried.append(np.sqrt(((x - turned) ** 2).sum(axis=-1).mean()))
    assert found.distance == pytest.approx(min(tried), rel=1e-5)
    assert found.distance <= min(tried) + 1e-6


def test_noise_of_a_centimetre_is_told_as_such() -> None:
    found = nearest(INDEX, noisy(CLIPS[3], 0.01))
    assert found is not None
    assert found.id == "3"
    assert found.distance == pytest.approx(0.01 * np.sqrt(3), rel=0.02)


def test_heights_stay() -> None:
    lifted = replace(CLIPS[3], joints=CLIPS[3].joints + np.array([0, 0, 0.05], dtype=np.float32))
    found = nearest(build_index(CLIPS[3:4]), lifted)
    assert found is not None
    assert found.distance == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("change", [lambda clip: mirror(clip, BODY), lambda clip: motion(BODY, frames=61, seed=99)])
def test_what_is_no_copy_is_not_found(change: Callable[[MotionSequence], MotionSequence]) -> None:
    found = nearest(INDEX, change(CLIPS[3]))
    assert found is not None
    assert found.distance > 0.1


def test_the_clip_nearest_most_often_is_named() -> None:
    parts = [CLIPS[1].joints[:, :20], CLIPS[2].joints[:, 10:50]]  # windows at 0, 10, …, 40: the first is of clip 1
    found = nearest(INDEX, replace(crop(CLIPS[1], 0, 60), joints=np.concatenate(parts, axis=1)))
    assert found is not None
    assert found.id == "2"


def test_windows_are_half_a_second_apart() -> None:
    sample = crop(CLIPS[3], 0, 35)
    joints = sample.joints.copy()
    joints[:, 20:, :, 2] += 0.02  # none of the first window, from 0 to 19, half of the second and last, from 10 to 29
    found = nearest(INDEX, replace(sample, joints=joints))
    assert found is not None
    assert found.distance == pytest.approx(0.02 * np.sqrt(0.5) / 2, rel=1e-2)


def test_distance_is_the_mean_of_windows_and_persons() -> None:
    sample = noisy(CLIPS[3], 0.01)
    alone = [nearest(INDEX, replace(sample, valid=sample.valid & (np.arange(2) == k)[:, None])) for k in range(2)]
    assert alone[0] is not None
    assert alone[1] is not None
    found = nearest(INDEX, sample)
    assert found is not None
    assert found.distance == pytest.approx((alone[0].distance + alone[1].distance) / 2)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorisation, "CLIPS_PER_BLOCK", 5)
    index = build_index(iter(CLIPS))
    assert [len(np.unique(block.clip)) for block in index.blocks] == [5, 5, 2]
    for sample in (crop(CLIPS[11], 10, 61), noisy(CLIPS[7], 0.3)):
        found, expected = nearest(index, sample), nearest(INDEX, sample)
        assert found is not None
        assert expected is not None
        assert found.id == expected.id
        assert found.distance == pytest.approx(expected.distance, abs=1e-6)


def test_only_frames_in_which_the_person_is_there() -> None:
    valid = CLIPS[0].valid.copy()
    valid[0, 30] = False
    index = build_index([replace(CLIPS[0], valid=valid)])
    assert len(index.blocks[0].clip) == 9 + 5  # of 9 starts 0, 5, … 40, those at 15, 20, 25 and 30 hold frame 30
    garbage = replace(CLIPS[0], valid=valid, joints=np.where(valid[..., None, None], CLIPS[0].joints, np.float32(99)))
    found = nearest(index, garbage)
    assert found is not None
    assert found.distance < 1e-5


def test_clips_without_a_window_are_left_out_and_counted() -> None:
    short, empty = crop(CLIPS[0], 0, 19), replace(CLIPS[1], valid=np.zeros_like(CLIPS[1].valid))
    index = build_index([short, empty, CLIPS[2]])
    assert index.left_out == 2
    found = nearest(index, CLIPS[2])
    assert found is not None
    assert found.id == "2"
    assert nearest(INDEX, short) is None
    assert nearest(INDEX, empty) is None
    assert nearest(build_index(CLIPS, seconds=0.5), short) is not None
    with pytest.raises(InputError, match="none of the 2 training clips has 1 s"):
        build_index([short, empty])


def test_another_rate_is_refused() -> None:
    faster = replace(CLIPS[0], fps=30.0)
    with pytest.raises(InputError, match="has 30 fps, expected 20"):
        build_index([CLIPS[1], faster])
    with pytest.raises(InputError, match="has 30 fps, expected 20"):
        nearest(INDEX, faster)
