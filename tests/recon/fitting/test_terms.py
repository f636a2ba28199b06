"""Energies of a fit against their definitions, restated for a few points."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.camera import Camera, intrinsics_matrix
from recon.fitting import terms as fitting_terms
from recon.fitting.terms import (
    acceleration,
    apart,
    before_background,
    floor_contact,
    hinge,
    near_start,
    reprojection,
    skin_depth,
)

CAMERA = Camera(intrinsics_matrix(200.0, 200.0, 99.5, 49.5), torch.eye(4), (200, 100))


def bounded(value: float, sigma: float, bound: float) -> float:
    """Compute half of (value / sigma)² as Geman and McClure bound it."""
    return 0.5 * (value / sigma) ** 2 / (1 + (value / bound) ** 2)


def test_bounded_is_a_half_square_with_a_ceiling() -> None:
    energy = fitting_terms.bounded(torch.tensor([0.0, 1e-4, 1e6]), 0.1, 1.0)
    assert torch.allclose(energy, torch.tensor([0.0, 0.005, 50.0]), rtol=1e-3)


def test_hinge_counts_one_side() -> None:
    assert hinge(torch.tensor([-1.0, 0.0, 0.2]), 0.1).tolist() == pytest.approx([0, 0, 2])


def test_pixels_count_as_metres_at_the_persons_distance() -> None:
    """A point 2 m away is seen 6 and 8 pixels off, 1 cm each; one without weight may be anywhere."""
    points = torch.tensor([[[[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]]]])
    pixels = torch.tensor([[[[99.5 + 6, 49.5 + 8], [1e4, -1e4]]]])
    sigma, bound = torch.full((1, 1, 1), 0.05), torch.full((1, 1, 1), 0.3)
    found = reprojection(
        points, pixels, torch.tensor([[[0.5, 0.0]]]), torch.full((1, 1, 1), 0.01), CAMERA, sigma, bound
    )
    assert found.item() == pytest.approx(0.5 * bounded(0.1, 0.05, 0.3))


@pytest.mark.parametrize(
    ("depth", "seen", "energy"),
    [
        (2.1, 2.0, 0.0),  # a limb's radius behind its skin
        (2.3, 2.0, bounded(0.2, 0.1, 0.2)),  # 5 % of 2 m are 10 cm, which are believed up to 20
        (2.0, 2.0, bounded(-0.1, 0.1, 0.2)),
        (1.3, 1.0, bounded(0.2, 0.06, 0.15)),  # no noise is below 6 cm, nor the bound below 15
        (2.3, math.nan, 0.0),
    ],
)
def test_keypoints_lie_behind_the_skin_that_is_seen(depth: float, seen: float, energy: float) -> None:
    point = lambda value: torch.tensor([[[value]]])  # noqa: E731
    found = skin_depth(point(depth), point(seen), point(2.0), torch.tensor([0.1]), 0.06, 0.05, 0.15)
    assert found.item() == pytest.approx(2 * energy, rel=1e-4, abs=1e-9)


def test_nobody_who_is_seen_is_behind_the_room() -> None:
    """One is 5 cm before the wall, one reaches 10 cm into it, one is before nothing known; the radius is 20 cm."""
    depth = torch.tensor([[[2.75, 2.9, 9.0]]])
    background = torch.tensor([[[3.0, 3.0, math.inf]]])
    found = before_background(depth, background, torch.ones(1, 1, 3), torch.full((3,), 0.2), 0.05, 0.3)
    assert found.item() == pytest.approx(bounded(0.1, 0.05, 0.3), rel=1e-4)


def test_acceleration_counts_by_its_square_when_small_and_by_its_size_when_large() -> None:
    """Two persons fall along x with 0.1 and 100 m/s², at 10 fps; only frames with both neighbours count."""
    time = torch.arange(5) / 10
    joints = torch.zeros(2, 5, 24, 3)
    joints[..., 0] = 0.5 * torch.tensor([0.1, 100.0])[:, None, None] * time[None, :, None] ** 2
    valid = torch.ones(2, 5, dtype=torch.bool)
    each = [math.sqrt(size**2 + 1) - 1 for size in (0.1, 100.0)]
    assert acceleration(joints, valid, 10.0).item() == pytest.approx(3 * sum(each), rel=1e-3)
    valid[1, 1] = False
    assert acceleration(joints, valid, 10.0).item() == pytest.approx(3 * each[0] + each[1], rel=1e-3)


def on_floor(soles: Tensor, height: float = 1.0, valid: Tensor | None = None) -> float:
    """Compute the energy of soles (frame, sole, 3) under joints that are all so high, at 10 fps."""
    joints = torch.full((1, len(soles), 24, 3), height)
    there = torch.ones(1, len(soles), dtype=torch.bool) if valid is None else valid
    return floor_contact(joints, soles[None], torch.full((24,), 0.05), there, 10.0, 0.01).item()


def test_bodies_are_not_below_the_floor() -> None:
    fast = torch.zeros(2, 1, 3)
    fast[:, 0, 0] = torch.tensor([0.0, 1.0])
    assert on_floor(fast) == 0
    assert on_floor(fast, 0.03) == pytest.approx(2 * 24 * 0.5 * (0.02 / 0.01) ** 2, rel=1e-4), "skin is 5 cm lower"
    fast[0, 0, 2] = -0.03
    assert on_floor(fast) == pytest.approx(0.5 * 3**2, rel=1e-4)


def test_feet_at_rest_near_the_floor_are_drawn_onto_it() -> None:
    """A sole 5 cm up that moves by 3 cm a frame rests, by 5 cm it flies; the slower of its two steps counts."""
    rests, flies = torch.full((3, 1, 3), 0.05), torch.full((3, 1, 3), 0.05)
    rests[:, 0, 0], flies[:, 0, 0] = torch.tensor([0, 0.03, 0.06]), torch.tensor([0, 0.05, 0.10])
    drawn = bounded(0.05, 0.15, 0.1)
    assert on_floor(rests) == pytest.approx(3 * drawn, rel=1e-3)
    assert on_floor(flies) == 0
    flies[:, 0, 0] = torch.tensor([0, 0.03, 0.10])
    assert on_floor(flies) == pytest.approx(2 * drawn, rel=1e-3)
    there = torch.tensor([[True, False, True]])
    assert on_floor(rests, valid=there) == 0, "no speed is known beside a gap"


def test_persons_do_not_share_space_when_both_are_there() -> None:
    """Balls of 10 cm overlap by 5 cm in two frames; in the third the persons are 2 m apart."""
    balls = torch.zeros(2, 3, 1, 3)
    balls[1, :, 0, 0] = torch.tensor([0.15, 0.15, 2.0])
    radii, both = torch.full((2, 1), 0.1), torch.ones(2, 3, dtype=torch.bool)
    assert apart(balls, radii, both, 0.05).item() == pytest.approx(2 * 0.5, rel=1e-4)
    both[0, 1] = False
    assert apart(balls, radii, both, 0.05).item() == pytest.approx(0.5, rel=1e-4)
    assert apart(balls[:1], radii[:1], both[:1], 0.05) == 0


def test_rotations_are_held_by_their_angle() -> None:
    """|R - S|² / 2 is 4 sin²(angle / 2), the square of small angles; a plainly wrong start lets go."""
    angle = 0.1
    turned = torch.eye(3).repeat(1, 2, 24, 1, 1)
    turned[0, 1, 5] = torch.tensor(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], dtype=torch.float32
    )
    start, valid = torch.eye(3).repeat(1, 2, 24, 1, 1), torch.ones(1, 2, dtype=torch.bool)
    expected = bounded(2 * math.sin(angle / 2), 0.05, 0.5)
    assert near_start(turned, start, valid, 0.05, 0.5).item() == pytest.approx(expected, rel=1e-3)
    valid[0, 1] = False
    assert near_start(turned, start, valid, 0.05, 0.5) == 0
