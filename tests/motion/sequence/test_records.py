"""Records, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest

from motion.errors import InputError
from motion.sequence import MotionSequence, Scene


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"fps": 0.0}, "fps is 0.0, expected a positive number"),
        ({"source": "youtube"}, "source is 'youtube', expected one of humanml3d"),
        ({"split": "dev"}, "split is 'dev', expected one of train"),
        ({"id": ""}, "id is empty"),
        ({"transl": np.zeros((2, 6, 3), np.float32)}, r"has shape \(2, 7, 3, 3\), expected \(2, 6, 3, 3\)"),
        ({"betas": np.zeros((2, 10), np.float64)}, "betas is float64, expected float32"),
        ({"betas": np.full((2, 10), np.nan, np.float32)}, "betas holds NaN or infinity"),
        ({"action": np.full((2, 7), 13, np.int8)}, r"action lies outside 0..12"),
        ({"person_class": np.array([0, -1], np.int8)}, r"person_class lies outside 0..3"),
        (
            {"global_orient": np.zeros((2, 7, 3, 3), np.float32)},
            "global_orient holds matrices that are no rotations",
        ),
        ({"global_orient": -np.tile(np.eye(3, dtype=np.float32), (2, 7, 1, 1))}, "no rotations"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_motions_are_refused_in_one_sentence(
    clip: MotionSequence, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(clip, **change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_size": (0, 480)}, "image_size is"),
        ({"floor_inlier_ratio": 1.5}, "floor_inlier_ratio is 1.5"),
        ({"depth_scale": -1.0}, "depth_scale is -1.0"),
        ({"labels": np.zeros(49, np.int8)}, r"labels has shape \(49,\), expected \(50,\)"),
        ({"extrinsics": np.zeros((4, 4), np.float32)}, "no rotations"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_scenes_are_refused_in_one_sentence(scene: Scene, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(scene, **change)
