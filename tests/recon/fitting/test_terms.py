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
    lean,
    lowest_point,
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
        points,
        pixels,
        torch.tensor([[[0.5, 0.0]]]),
        torch.full((1, 1, 1), 0.01),
        CAMERA.intrinsics[None, None],
        sigma,
        bound,
    )
    assert found.item() == pytest.approx(0.5 * bounded(0.1, 0.05, 0.3))


@pytest.mark.parametrize(
    ("depth", "seen", "energy"),
    [
        (2.1, 2.0, 0.0),  # a limb's radius behind its skin
        # 5 % of 2 m are 10 cm, beside 6 cm of the keypoint's own; two standard deviations are believed
        (2.3, 2.0, bounded(0.2, math.hypot(0.1, 0.06), 2 * math.hypot(0.1, 0.06))),
        (2.0, 2.0, bounded(-0.1, math.hypot(0.1, 0.06), 2 * math.hypot(0.1, 0.06))),
        (0.3, 0.2, 0.0),
        (0.4, 0.2, bounded(0.1, math.hypot(0.01, 0.06), 0.15)),  # the bound is not below 15 cm
        (2.3, math.nan, 0.0),
    ],
)
def test_keypoints_lie_behind_the_skin_that_is_seen(depth: float, seen: float, energy: float) -> None:
    point, seen_at, weight, radius, error = torch.tensor([depth, seen, 1.0, 0.1, 0.05])[:, None, None, None]
    found = skin_depth(point, seen_at, weight, radius, 0.06, error, 0.15)
    assert found.item() == pytest.approx(energy, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("count", [1, 4, 100])
def test_an_error_that_all_depths_share_is_measured_once(count: int) -> None:
    """All keypoints of a person seem 1 cm too far, by 20 times less than depth errs: they are one measurement of it."""
    depth, seen = torch.full((1, 1, count), 2.11), torch.full((1, 1, count), 2.0)
    found = skin_depth(
        depth, seen, torch.ones(1, 1, count), torch.full((1, 1, count), 0.1), 1e-6, torch.full((1, 1, 1), 0.1), 0.15
    )
    assert found.item() == pytest.approx(0.5 * (0.01 / 0.2) ** 2, rel=1e-2)


def test_nobody_who_is_seen_is_behind_the_room() -> None:
    """One is 5 cm before the wall, one reaches 10 cm into it, one is before nothing known; the radius is 20 cm."""
    depth = torch.tensor([[[2.75, 2.9, 9.0]]])
    background = torch.tensor([[[3.0, 3.0, math.inf]]])
    radius, seen = torch.full((1, 1, 3), 0.2), torch.ones(1, 1, 3)
    exact, rough = torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.1)
    found = before_background(depth, background, seen, radius, 0.05, exact, 0.3)
    assert found.item() == pytest.approx(bounded(0.1, 0.05, 0.3), rel=1e-4)
    found = before_background(depth, background, seen, radius, 0.05, rough, 0.3)
    assert found.item() == pytest.approx(bounded(0.1, math.hypot(0.3, 0.05), 2 * math.hypot(0.3, 0.05)), rel=1e-4)


def test_acceleration_counts_by_its_square_when_small_and_by_its_size_when_large() -> None:
    """Two persons fall along x with 0.1 and 100 m/s², at 10 fps; only frames with both neighbours count."""
    time = torch.arange(5) / 10
    joints = torch.zeros(2, 5, 24, 3)
    joints[..., 0] = 0.5 * torch.tensor([0.1, 100.0])[:, None, None] * time[None, :, None] ** 2
    valid = torch.ones(2, 5, dtype=torch.bool)
    each = [math.sqrt(size**2 + 1) - 1 for size in (0.1, 100.0)]
    fps = torch.full((2, 1, 1), 10.0)
    assert acceleration(joints, valid, fps).item() == pytest.approx(3 * sum(each), rel=1e-3)
    valid[1, 1] = False
    assert acceleration(joints, valid, fps).item() == pytest.approx(3 * each[0] + each[1], rel=1e-3)


def on_floor(soles: Tensor, height: float = 1.0, valid: Tensor | None = None) -> float:
    """Compute the energy of soles (frame, sole, 3) under joints that are all so high, at 10 fps."""
    joints = torch.full((1, len(soles), 24, 3), height)
    there = torch.ones(1, len(soles), dtype=torch.bool) if valid is None else valid
    radius = torch.full((24,), 0.05)
    return floor_contact(
        joints[..., 2], soles[None, ..., 2], soles[None], radius, there, torch.full((1, 1, 1), 10.0), 0.01
    ).item()


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


def leaning(degrees: float, frames: int) -> Tensor:
    """Stretch joints between ankles at the origin and shoulders `degrees` off the vertical."""
    joints = torch.zeros(1, frames, 24, 3)
    angle = math.radians(degrees)
    joints[:, :, [16, 17]] = 1.4 * torch.tensor([math.sin(angle), 0.0, math.cos(angle)])
    return joints


@pytest.mark.parametrize(("frames", "counted"), [(1, 1), (5, 5), (50, 5)])
def test_who_stands_is_upright_and_who_lies_is_level(frames: int, counted: int) -> None:
    """Either is 6 degrees off, by a standard deviation of 0.1 radians."""
    up = torch.tensor([0.0, 0.0, 1.0]).expand(1, frames, 3)
    yes, no = torch.ones(1, frames).bool(), torch.zeros(1, frames).bool()
    off = counted * 0.5 * (math.radians(6) / 0.1) ** 2
    assert lean(leaning(6, frames), up, yes, no).item() == pytest.approx(off, rel=0.01)
    assert lean(leaning(84, frames), up, no, yes).item() == pytest.approx(off, rel=0.01)
    assert lean(leaning(50, frames), up, no, no).item() == 0
    tilted = torch.tensor([math.sin(math.radians(6)), 0.0, math.cos(math.radians(6))]).expand(1, frames, 3)
    assert lean(leaning(6, frames), tilted, yes, no).item() == pytest.approx(0, abs=1e-5)


def test_who_is_on_the_floor_touches_it() -> None:
    """The lowest of all is a hand 10 cm up; 10 cm beneath the floor costs as much, and who sits in a bed nothing."""
    joints, soles, yes = torch.full((1, 2, 24), 0.8), torch.full((1, 2, 4), 0.3), torch.ones(1, 2).bool()
    joints[:, :, 22] = 0.1
    each = bounded(0.1, 0.05, 0.5)
    assert lowest_point(joints, soles, yes).item() == pytest.approx(2 * each, rel=1e-4)
    assert lowest_point(joints, soles - 0.4, yes).item() == pytest.approx(2 * each, rel=1e-4)
    assert lowest_point(joints, soles, ~yes).item() == 0


def test_persons_do_not_share_space_when_both_are_there() -> None:
    """Balls of 10 cm overlap by 5 cm in two frames; in the third the persons are 2 m apart."""
    balls = torch.zeros(2, 3, 1, 3)
    balls[1, :, 0, 0] = torch.tensor([0.15, 0.15, 2.0])
    radii, both = torch.full((2, 1), 0.1), torch.ones(2, 3, dtype=torch.bool)
    same = torch.zeros(2, dtype=torch.int64)
    assert apart(balls, radii, both, same, 0.05).item() == pytest.approx(2 * 0.5, rel=1e-4)
    assert apart(balls, radii, both, torch.tensor([0, 1]), 0.05) == 0, "in different rooms"
    both[0, 1] = False
    assert apart(balls, radii, both, same, 0.05).item() == pytest.approx(0.5, rel=1e-4)
    assert apart(balls[:1], radii[:1], both[:1], same[:1], 0.05) == 0


def test_every_pair_of_balls_counts() -> None:
    """Two persons of 48 balls 3 m from the origin, of which many overlap, some by less than a millimetre."""
    balls = 0.3 * torch.randn(2, 4, 48, 3) + 3.0
    radii, both, same = 0.2 * torch.rand(2, 48), torch.ones(2, 4, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    gap = (balls[0, :, :, None] - balls[1, :, None]).norm(dim=-1)
    reach = radii[0, :, None] + radii[1]
    assert ((gap < reach) & (gap > reach - 1e-3)).any()
    assert apart(balls, radii, both, same, 0.05).item() == pytest.approx(
        hinge(reach - gap, 0.05).sum().item(), rel=1e-5
    )


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
