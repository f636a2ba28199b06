"""Persons moved to another frame of reference (eq. 4.5 and eq. 4.6, corrected)."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.body import load_body
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import KEYPOINT_SETS
from recon.keypoints import body_keypoints
from recon.people import People


def some_people(seed: int) -> People:
    """Draw two persons of random pose over three frames."""
    generator = torch.Generator().manual_seed(seed)
    return People(
        transl=torch.randn(2, 3, 3, generator=generator),
        global_orient=matrix_from_axis_angle(torch.randn(2, 3, 3, generator=generator)),
        body_pose=matrix_from_axis_angle(0.4 * torch.randn(2, 3, 23, 3, generator=generator)),
        betas=torch.randn(2, 10, generator=generator),
        valid=torch.ones(2, 3, dtype=torch.bool),
    )


@given(st.integers(0, 10_000))
def test_moved_parameters_give_the_moved_joints_and_keypoints(seed: int) -> None:
    body, people = load_body(), some_people(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    rotation = matrix_from_axis_angle(torch.randn(3, generator=generator))
    translation = 3 * torch.randn(3, generator=generator)
    moved = people.moved(rotation, translation, body)
    torch.testing.assert_close(moved.joints(body), people.joints(body) @ rotation.T + translation, atol=1e-5, rtol=1e-5)
    coco = body_keypoints(body, KEYPOINT_SETS["coco17"])
    expected = people.keypoints(body, coco) @ rotation.T + translation
    torch.testing.assert_close(moved.keypoints(body, coco), expected, atol=1e-5, rtol=1e-5)
