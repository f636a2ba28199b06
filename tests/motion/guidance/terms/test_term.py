"""Keypoints, paths and the floor: their energies, and what they reach with the exact denoiser of a Gaussian."""

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.features import POSITIONS, encode
from motion.guidance.terms import Figure, FloorContact, Keypoints2D, Trajectory
from motion.skeleton import FEET
from motion.smpl_parameters import SmplParameters
from tests.helpers.walks import (
    PELVIS,
    PENETRATES,
    STEPS,
    always,
    camera,
    capsules,
    joints,
    motions,
    poses,
    projected,
    sampled,
    someone,
    steered,
)


def test_a_term_shows_itself_in_one_line() -> None:
    path = Trajectory(*always(2), (0,), torch.zeros(2, 1, 8, 1, 3), torch.ones(2, 1, 8, 1, 3, dtype=torch.bool))
    shapes = "weight (2,), start (2,), stop (2,), targets (2, 1, 8, 1, 3), known (2, 1, 8, 1, 3)"
    assert repr(path) == f"Trajectory: {shapes}"
    assert repr(FloorContact(*always(1))) == "FloorContact: weight (1,), start (1,), stop (1,)"


def test_keypoints_are_met_to_the_end() -> None:
    """The error is at most half the unguided one, and still falls in the last quarter: the thesis' failure.

    At a third of a pixel the last steps differ by a few hundredths.
    """
    of = motions(0.5)
    wanted = projected(torch.stack([of.draw(1000 + i)[None, :, POSITIONS].unflatten(-1, (24, 3)) for i in range(4)]))
    term = Keypoints2D(*always(4), *camera(4), wanted, torch.ones(wanted.shape[:-1]))

    def error(found: list[SmplParameters]) -> Tensor:
        return (projected(joints(found)) - wanted).norm(dim=-1).mean(dim=(1, 2, 3))

    unguided, guided = sampled(of, [], 4)[0], sampled(of, [term], 4)
    assert (error(guided[0]) < 0.5 * error(unguided)).all()
    last = torch.stack([error(found).mean() for found in guided[1][-STEPS // 4 - 1 :]])
    assert (last[1:] < last[:-1] + 0.03).all()
    assert last[-1] < 0.9 * last[0]


def test_a_path_is_followed_and_waypoints_are_reached() -> None:
    of = motions(0.5)
    frames = len(of.draw(0))
    angle = torch.linspace(0, 2, frames)
    path = torch.stack([angle.sin(), 1 - angle.cos(), 0 * angle], dim=-1).expand(2, 1, frames, 3)
    known = torch.tensor([True, True, False]).expand(2, 1, frames, 1, 3).clone()
    known[1] &= (torch.arange(frames) % 12 == 3)[:, None, None]
    term = Trajectory(*always(2), (PELVIS,), path[..., None, :].clone(), known)
    off = (joints(sampled(of, [term], 2)[0])[..., 0, :2] - path[..., :2]).norm(dim=-1)
    assert off[0].mean() < 0.05
    assert off[1, 0][known[1, 0, :, 0, 0]].max() < 0.05
    assert off[1].mean() > 0.05, "between waypoints the way is free"


def test_skin_comes_out_of_the_floor() -> None:
    def lowest(found: list[SmplParameters]) -> np.ndarray:
        return np.stack([capsules(pose).lowest() for pose in found])

    of = motions(0.5, height=-0.06)
    unguided, guided = lowest(sampled(of, [], 2)[0]), lowest(sampled(of, [FloorContact(*always(2))], 2)[0])
    assert unguided.mean() < -0.03
    assert abs(guided.mean()) < 0.01
    assert (guided < -PENETRATES).mean() < 0.2 * (unguided < -PENETRATES).mean()


def test_standing_feet_stop_sliding() -> None:
    """A walk drifts sideways by 1 cm a frame: the feet that stood still do so again."""
    of, (_, body_shape, valid) = motions(0.3), someone(1)
    features = encode(torch.from_numpy(of.clip.joints), torch.from_numpy(of.clip.body_pose))[None]
    still = features[..., POSITIONS].unflatten(-1, (24, 3))[:, :, :, FEET]
    standing = (still[:, :, 1:, :, :2] - still[:, :, :-1, :, :2]).norm(dim=-1) < 0.01
    drift = 0.01 * torch.arange(valid.shape[2])[:, None, None] * torch.tensor([0.0, 1.0, 0.0])
    features[..., POSITIONS] += drift.expand(-1, 24, -1).flatten(-2)
    drifting = of.normalizer.normalize(features)

    def slide(x: Tensor) -> float:
        return float(joints(poses(of, x))[..., FEET, :2].diff(dim=2).norm(dim=-1)[standing].mean())

    steady = steered(drifting, body_shape, valid, [FloorContact(*always(1))])
    assert slide(steady) < 0.3 * slide(drifting)


def test_keypoint_energy_is_the_pixels_error_at_its_depth() -> None:
    """They agree to first order; an unseen keypoint may be NaN, and behind the camera nothing blows up."""
    x, body_shape, valid = someone(1)
    points = joints(poses(motions(0.3), x))
    wanted = projected(points) + torch.tensor([1.0, 0.0])
    confidence = torch.zeros(wanted.shape[:-1])
    confidence[0, 0, 3, 5] = 1.0
    wanted[confidence == 0] = torch.nan
    term = Keypoints2D(*always(1), *camera(1), wanted, confidence)
    metres = (points[0, 0, 3, 5, 1].item() + 5) / 500
    assert term.energy(Figure(points, points, body_shape, valid)).item() == pytest.approx(
        0.5 * (metres / 0.01) ** 2, rel=0.02
    )
    behind = (points - torch.tensor([0.0, 5.0, 0.0])).requires_grad_()
    term.energy(Figure(behind, points, body_shape, valid)).sum().backward()
    assert behind.grad is not None
    assert behind.grad.isfinite().all()
    assert behind.grad[0, 0, 3, 5].norm() > 0
