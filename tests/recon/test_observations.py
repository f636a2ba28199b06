"""Observations of persons: shapes and numbers that cannot belong together are refused."""

from dataclasses import replace

import pytest
import torch

from motion.errors import InputError
from recon.observations import Observations
from tests.helpers.fitted_motions import room_camera

SEEN = Observations(
    camera=room_camera(),
    fps=10.0,
    names=("nose", "left_hip", "right_hip"),
    keypoints=torch.zeros(2, 4, 3, 2),
    confidence=torch.ones(2, 4, 3),
    depth=torch.full((2, 4, 3), torch.nan),
    background=torch.ones(5, 6),
)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"names": ("nose",)}, r"keypoints of observations have shape \(2, 4, 3\), expected \(2, 4, 1\)"),
        (
            {"confidence": torch.ones(2, 4, 2)},
            r"confidence of observations have shape \(2, 4, 2\), expected \(2, 4, 3\)",
        ),
        ({"depth": torch.ones(1, 4, 3)}, r"depth of observations have shape \(1, 4, 3\), expected \(2, 4, 3\)"),
    ],
)
def test_shapes_that_disagree_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(SEEN, **change)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_keypoint_that_counts_has_finite_pixels(number: float) -> None:
    keypoints, confidence = SEEN.keypoints.clone(), SEEN.confidence.clone()
    keypoints[1, 2, 0, 1] = number
    confidence[1, 2, 0] = 0.3
    with pytest.raises(InputError, match="a keypoint with confidence above 0 is NaN or infinite"):
        replace(SEEN, keypoints=keypoints, confidence=confidence)
    confidence[1, 2, 0] = 0
    assert not replace(SEEN, keypoints=keypoints, confidence=confidence).keypoints[1, 2, 0].isfinite().all()
