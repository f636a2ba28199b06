"""Clips for the field's representations, and comparisons up to where and which way a clip starts."""

import math
from dataclasses import replace

import numpy as np
import roma
import torch
from hypothesis import strategies as st
from torch import Tensor

from motion.body import load_body
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters
from tests.helpers.clips import random_clip

BODY = load_body()


def turning_clip(persons: int, frames: int, fps: float, turns: float, seed: int = 0) -> MotionSequence:
    """Make persons who swing their limbs and walk along a curve that turns them `turns` times about themselves."""
    generator = torch.Generator().manual_seed(seed)
    start = random_clip(BODY, persons, 1, seed)
    time = torch.linspace(0, 1, frames)
    yaw = 2 * math.pi * (torch.rand(persons, 1, generator=generator) + turns * time)
    lean = 0.1 * torch.randn(persons, 1, 3, generator=generator)
    z_up = matrix_from_axis_angle(torch.tensor([math.pi / 2, 0, 0]))
    about_z = matrix_from_axis_angle(yaw[..., None] * torch.tensor([0.0, 0, 1]))
    global_orient = about_z @ matrix_from_axis_angle(lean) @ z_up
    swing = 0.4 * torch.randn(persons, 1, 23, 3, generator=generator)
    body_pose = matrix_from_axis_angle(swing * torch.sin(9 * time + 1)[:, None, None])
    transl = torch.from_numpy(start.transl) + torch.stack([2 * yaw.sin(), yaw.cos(), 0.03 * (5 * yaw).sin()], dim=-1)
    betas = torch.from_numpy(start.betas)
    return replace(
        start,
        fps=fps,
        transl=transl.numpy(),
        global_orient=global_orient.numpy(),
        body_pose=body_pose.numpy(),
        joints=SmplParameters(transl, global_orient, body_pose, betas).joints(BODY).numpy(),
        valid=np.ones((persons, frames), dtype=np.bool_),
        action=np.zeros((persons, frames), dtype=np.int8),
    )


def without_heights(joints: Tensor) -> Tensor:
    """Put each person (first axis) with their lowest joint at 0."""
    return joints - joints[..., 2].amin(dim=(1, 2))[:, None, None, None] * torch.tensor([0, 0, 1])


def assert_same_up_to_start(found: Tensor, expected: Tensor) -> None:
    """Assert equality to 0.1 mm after one turn about Z and one shift along the floor for all of it."""
    flat_found, flat_expected = (points.reshape(-1, 3).double() for points in (found, expected))
    turn, shift = roma.rigid_points_registration(flat_expected, flat_found)
    torch.testing.assert_close(turn[2, 2], torch.ones_like(turn[2, 2]), atol=1e-6, rtol=0)
    torch.testing.assert_close(shift[2], torch.zeros_like(shift[2]), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat_expected @ turn.T + shift, flat_found, atol=1e-4, rtol=0)


any_clip = {
    "persons": st.integers(1, 3),
    "frames": st.integers(2, 60),
    "turns": st.floats(-1.5, 1.5) | st.none(),
    "seed": st.integers(0, 10_000),
}


def build(persons: int, frames: int, turns: float | None, seed: int, fps: float = 20.0) -> MotionSequence:
    """Make a smooth clip, or without `turns` one that jumps from pose to pose."""
    if turns is None:
        return replace(random_clip(BODY, persons, frames, seed), fps=fps)
    return turning_clip(persons, frames, fps, turns, seed)
