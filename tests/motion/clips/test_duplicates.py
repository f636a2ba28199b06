"""Copies of clips: found wherever they are, and told from other motions of a kind."""

from dataclasses import replace

import numpy as np
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.clips.duplicates import SAME_M, find_duplicates, signature
from motion.clips.transforms import crop, resample, transform
from motion.sequence import MotionSequence
from motion.skeleton import JOINT
from tests.helpers.clips import motion

ANGLES = st.floats(-3.1, 3.1)
PER_PERSON = ("transl", "global_orient", "body_pose", "betas", "joints", "valid", "person_class", "action")


def signatures(*clips: MotionSequence) -> np.ndarray:
    return np.stack([signature(clip) for clip in clips])


@settings(max_examples=15)
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


def test_copies_may_differ_by_a_centimetre_and_by_a_frame_at_the_end(body: Body) -> None:
    """Two takes of one actor's raised hand differ by 27 mm (Bandai-Namco), and are no copies."""
    clip = motion(body, 60)

    def held_out(metres: float) -> MotionSequence:
        joints = clip.joints.copy()
        joints[:, :, JOINT["left_wrist"]] += metres * clip.global_orient[..., 0]
        return replace(clip, joints=joints)

    assert find_duplicates(["a", "b"], signatures(clip, held_out(0.010))) == {"b": "a"}
    assert find_duplicates(["a", "b"], signatures(clip, held_out(0.027))) == {}
    assert find_duplicates(["a", "b"], signatures(clip, crop(clip, 0, 59))) == {"b": "a"}
    assert find_duplicates(["a", "b"], signatures(clip, crop(clip, 0, 58))) == {}


def test_other_motions_of_a_kind_are_no_copies(body: Body, mimic: dict[str, MotionSequence]) -> None:
    clip = motion(body, 60)
    parts = [crop(clip, 0, 50), crop(clip, 5, 60), *mimic.values()]
    assert find_duplicates(list("abcdefgh"), signatures(clip, *parts)) == {}


def test_two_who_move_alike_are_no_copy_of_one(body: Body) -> None:
    one = motion(body, 60)
    one = replace(one, **{name: getattr(one, name)[:1] for name in PER_PERSON})
    two = replace(one, **{name: np.repeat(getattr(one, name), 2, axis=0) for name in PER_PERSON})
    assert find_duplicates(["one", "two"], signatures(one, two)) == {}


def test_what_is_near_a_copy_only_is_kept() -> None:
    steps = np.array([[0.0], [0.9], [1.8], [2.7]], dtype=np.float32) * SAME_M
    assert find_duplicates(list("abcd"), steps) == {"b": "a", "d": "c"}
