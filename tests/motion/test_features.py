"""Features and back."""

from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.features import NUM_FEATURES, Moments, Normalizer, decode, encode, encode_sequence
from motion.rotations import columns_first, matrix_from_6d, matrix_to_6d, rows_first
from tests.helpers.clips import random_clip

BODY = load_body()


@given(seed=st.integers(0, 10_000), persons=st.integers(1, 3))
@settings(max_examples=30)
def test_record_to_features_and_back(seed: int, persons: int) -> None:
    """Joints come back to 0.1 mm and the root orientation, which is not in the features, to 0.1 degrees."""
    clip = random_clip(BODY, persons=persons, frames=4, seed=seed)
    pose = decode(encode_sequence(clip), BODY, torch.from_numpy(clip.betas))
    np.testing.assert_allclose(pose.joints(BODY), clip.joints, atol=1e-4)
    turned = roma.rotmat_geodesic_distance(pose.global_orient, torch.from_numpy(clip.global_orient))
    assert torch.rad2deg(turned).max() <= 0.1
    np.testing.assert_allclose(pose.transl, clip.transl, atol=1e-5)


def test_decoding_any_numbers_gives_a_body() -> None:
    """Whatever the network says, rotations are rotations and bones keep their length."""
    pose = decode(torch.randn(2, 5, NUM_FEATURES), BODY, torch.zeros(2, 10))
    gram = pose.body_pose.mT @ pose.body_pose
    torch.testing.assert_close(gram, torch.eye(3).expand_as(gram), atol=1e-5, rtol=0)
    assert (torch.linalg.det(pose.global_orient) > 0.999).all()
    rest = BODY.rest_joints(torch.zeros(10))
    shin = (rest[7] - rest[4]).norm()
    torch.testing.assert_close(
        (pose.joints(BODY)[..., 7, :] - pose.joints(BODY)[..., 4, :]).norm(dim=-1), shin.expand(2, 5)
    )


def test_golden_sceneintergen_features(golden: Path) -> None:
    """Our 282 numbers are the author's 286 without the four foot contacts."""
    reference = np.load(golden / "sceneintergen" / "scene_motion.npz")
    for sample in ("sample0", "sample1"):
        features = encode(
            torch.from_numpy(reference[f"{sample}.out.joints"]),
            torch.from_numpy(reference[f"{sample}.body_pose"]),
        )
        np.testing.assert_allclose(features, reference[f"{sample}.out.x"][..., :NUM_FEATURES], atol=1e-6)
        normalizer = Normalizer(
            torch.from_numpy(reference["mean"][:NUM_FEATURES]),
            torch.from_numpy(reference["std"][:NUM_FEATURES]) + 1e-6,
        )
        np.testing.assert_allclose(
            normalizer.normalize(features),
            reference[f"{sample}.out.x_normalised"][..., :NUM_FEATURES],
            atol=1e-4,
        )


def test_golden_6d_rotations(golden: Path) -> None:
    reference = np.load(golden / "sceneintergen" / "scene_motion.npz")
    given_6d = torch.from_numpy(reference["rot6d.in (..., 3, 2)"]).flatten(-2)
    matrices = matrix_from_6d(given_6d)
    np.testing.assert_allclose(matrices, reference["rot6d.rotmat"], atol=1e-6)
    np.testing.assert_allclose(matrix_to_6d(matrices).unflatten(-1, (3, 2)), reference["rot6d.back"], atol=1e-6)


def test_6d_orders() -> None:
    matrix = torch.arange(9.0).view(3, 3)
    ours = matrix_to_6d(matrix)
    assert ours.tolist() == [0, 1, 3, 4, 6, 7], "rows of the first two columns"
    assert columns_first(ours).tolist() == [0, 3, 6, 1, 4, 7], "first column, then second"
    assert torch.equal(rows_first(columns_first(ours)), ours)


def test_normalizer_round_trip_and_constant_features() -> None:
    frames = torch.randn(100, NUM_FEATURES) * 3 + 1
    frames[:, 0] = 5.0
    normalizer = Moments.of(frames).normalizer()
    normal = normalizer.normalize(frames)
    torch.testing.assert_close(normal[:, 1:].std(dim=0, correction=0), torch.ones(NUM_FEATURES - 1))
    assert normal[:, 0].abs().max() < 1e-2, "a feature that never moves stays near zero"
    torch.testing.assert_close(normalizer.denormalize(normal), frames, atol=1e-5, rtol=1e-5)


def test_velocity_is_zero_on_the_first_frame() -> None:
    clip = random_clip(BODY, persons=1, frames=3)
    velocities = encode_sequence(clip)[0, :, 72:144].unflatten(-1, (24, 3)).numpy()
    assert (velocities[0] == 0).all()
    assert velocities[2] == pytest.approx(clip.joints[0, 2] - clip.joints[0, 1])


@given(cuts=st.lists(st.integers(1, 99), unique=True, max_size=5), offset=st.floats(-1e3, 1e3))
@settings(max_examples=15)
def test_moments_merge_over_any_blocks(cuts: list[int], offset: float) -> None:
    """Mean and deviation are those of all frames, however they are cut, also far from zero."""
    frames = (torch.randn(100, 3) + offset).double()
    blocks = [Moments.of(block) for block in torch.tensor_split(frames, sorted(cuts))]
    merged = reduce(Moments.merge, blocks)
    assert merged.count == 100
    torch.testing.assert_close(merged.mean, frames.mean(dim=0))
    torch.testing.assert_close(merged.squares / 100, frames.var(dim=0, correction=0))
