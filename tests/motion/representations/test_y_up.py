"""Y-up frame in which HumanML3D and InterGen see a person, and records that do not fit it."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.representations import humanml3d_263, intergen_262, joints_from_262, joints_from_263
from tests.helpers.clips import random_clip
from tests.helpers.representations import BODY, turning_clip


def test_first_frame_faces_minus_y() -> None:
    """It faces so by hips and shoulders in HumanML3D, by the hips alone in InterGen; left is then +X."""
    clip = turning_clip(persons=2, frames=30, fps=20.0, turns=0.4)
    joints = joints_from_263(humanml3d_263(clip))[0, 0]
    to_the_left = joints[1] - joints[2] + joints[16] - joints[17]
    assert to_the_left[:2].tolist() == pytest.approx([float(to_the_left[:2].norm()), 0], abs=1e-6)
    joints = joints_from_262(intergen_262(replace(clip, fps=30.0)))[0, 0]
    to_the_left = joints[1] - joints[2]
    assert to_the_left[:2].tolist() == pytest.approx([float(to_the_left[:2].norm()), 0], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 25.0}, "clip: has 25 frames per second, expected {fps}: resample it first"),
        ({"valid": np.array([[True, True, True], [True, False, False]])}, "person 1 on 2 of 3 frames"),
    ],
)
def test_records_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    for convert, fps in ((humanml3d_263, 20.0), (intergen_262, 30.0)):
        clip = replace(turning_clip(persons=2, frames=3, fps=fps, turns=0.1), **change)
        with pytest.raises(InputError, match=re.escape(message.format(fps=int(fps)))):
            convert(clip)


def test_one_frame_has_no_step() -> None:
    with pytest.raises(InputError, match="has 1 frame, expected at least 2"):
        humanml3d_263(random_clip(BODY, persons=1, frames=1))
