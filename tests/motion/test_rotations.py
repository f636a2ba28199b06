"""Rotations: round trips, conventions and the ends of interpolation."""

import math
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from motion.rotations import (
    Axis,
    about,
    about_degrees,
    columns_first,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
    matrix_to_axis_angle,
    rotate,
    rows_first,
    shortest_rotation,
    slerp,
    yaw_matrix,
)
from tests.helpers.golden import assert_near, load, matrix_from_wxyz

ANGLES = st.floats(-2 * math.pi, 2 * math.pi)
AXES: tuple[Axis, ...] = ("x", "y", "z")


@pytest.fixture
def turns() -> Tensor:
    torch.manual_seed(0)
    return roma.random_rotmat((5, 4), dtype=torch.float64)


def test_6d_is_the_first_two_columns_row_by_row() -> None:
    matrix = torch.arange(9.0).view(3, 3)
    assert matrix_to_6d(matrix).tolist() == [0, 1, 3, 4, 6, 7]
    assert columns_first(matrix_to_6d(matrix)).tolist() == [0, 3, 6, 1, 4, 7]


def test_6d_orders_undo_each_other() -> None:
    rotation = torch.arange(12.0).view(2, 6)
    assert torch.equal(rows_first(columns_first(rotation)), rotation)
    assert torch.equal(columns_first(rows_first(rotation)), rotation)


def test_matrices_come_back_from_6d_and_axis_angle(turns: Tensor) -> None:
    torch.testing.assert_close(matrix_from_6d(matrix_to_6d(turns)), turns)
    torch.testing.assert_close(matrix_from_axis_angle(matrix_to_axis_angle(turns)), turns)


def test_any_six_numbers_give_a_proper_rotation() -> None:
    matrix = matrix_from_6d(torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(matrix.det(), torch.ones(50).double())


@pytest.mark.parametrize(("axis", "start", "end"), [("x", "y", "z"), ("y", "z", "x"), ("z", "x", "y")])
def test_about_an_axis_is_right_handed(axis: Axis, start: Axis, end: Axis) -> None:
    quarter = about(axis, torch.tensor(math.pi / 2))
    unit = {name: torch.eye(3)[AXES.index(name)] for name in AXES}
    torch.testing.assert_close(rotate(quarter, unit[start]), unit[end])
    torch.testing.assert_close(rotate(quarter, unit[axis]), unit[axis])


@given(ANGLES, ANGLES, st.sampled_from(AXES))
def test_turns_about_one_axis_add_up(first: float, second: float, axis: Axis) -> None:
    both = about(axis, torch.tensor(first).double()) @ about(axis, torch.tensor(second).double())
    torch.testing.assert_close(both, about(axis, torch.tensor(first + second).double()), atol=1e-6, rtol=0)


@given(ANGLES)
def test_yaw_is_a_turn_about_z(angle: float) -> None:
    expected = about("z", torch.tensor(angle, dtype=torch.float64))
    torch.testing.assert_close(torch.from_numpy(yaw_matrix(angle)).double(), expected, atol=1e-7, rtol=0)


def test_degrees_are_a_number_or_an_array() -> None:
    expected = about("y", torch.tensor([0.0, math.pi / 2, -math.pi]))
    for degrees in (np.array([0, 90, -180]), torch.tensor([0.0, 90.0, -180.0])):
        torch.testing.assert_close(about_degrees("y", degrees), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(about_degrees("y", 90.0), expected[1], atol=1e-6, rtol=0)


def test_rotate_broadcasts(turns: Tensor) -> None:
    points = torch.randn(5, 1, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rotated = rotate(turns[:, :, None], points)
    assert rotated.shape == (5, 4, 7, 3)
    torch.testing.assert_close(rotated[2, 3, 6], turns[2, 3] @ points[2, 0, 6])


def test_slerp_goes_from_start_to_end_by_equal_angles(turns: Tensor) -> None:
    start, end = turns[:-1], turns[1:]
    weight = torch.zeros(start.shape[:-2]).double()
    torch.testing.assert_close(slerp(start, end, weight), start)
    torch.testing.assert_close(slerp(start, end, weight + 1), end)
    third = matrix_to_axis_angle(start.mT @ slerp(start, end, weight + 1 / 3)).norm(dim=-1)
    torch.testing.assert_close(3 * third, matrix_to_axis_angle(start.mT @ end).norm(dim=-1))


def test_slerp_takes_the_shorter_way() -> None:
    start, end = about_degrees("z", 170.0), about_degrees("z", -170.0)
    torch.testing.assert_close(slerp(start, end, torch.tensor(0.5)), about_degrees("z", 180.0), atol=1e-6, rtol=0)


def test_shortest_rotation_has_no_twist() -> None:
    start, end = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    rotation = shortest_rotation(start, 2 * end)
    found = torch.nn.functional.normalize(rotate(rotation, start), dim=-1)
    torch.testing.assert_close(found, torch.nn.functional.normalize(end, dim=-1))
    torch.testing.assert_close(matrix_to_axis_angle(rotation).norm(dim=-1), _angle(start, end))


@pytest.mark.parametrize(
    "direction", [[1.0, 0, 0], [-1.0, 0, 0], [0, -2.0, 0], [0, 0, 1.0], [0, 0, -3.0], [1.0, 1.0, 1.0]]
)
@pytest.mark.parametrize("almost", [0.0, 1e-7])
def test_shortest_rotation_of_opposite_directions_is_half_a_turn(direction: list[float], almost: float) -> None:
    start = torch.tensor(direction)
    end = -start + almost
    rotation = shortest_rotation(start, end)
    torch.testing.assert_close(rotate(rotation, start), -start, atol=2e-6, rtol=0)
    torch.testing.assert_close(rotation.det(), torch.tensor(1.0))
    assert matrix_to_axis_angle(rotation).norm().item() == pytest.approx(math.pi, abs=1e-3)


def _angle(start: Tensor, end: Tensor) -> Tensor:
    return torch.atan2(torch.linalg.cross(start, end).norm(dim=-1), (start * end).sum(dim=-1))


unit_vectors = st.tuples(*3 * [st.floats(-1, 1)]).filter(lambda v: math.hypot(*v) > 0.1)


@given(start=unit_vectors, end=unit_vectors)
def test_shortest_rotation(start: tuple[float, ...], end: tuple[float, ...]) -> None:
    """It carries one direction to the other, by the angle between them."""
    a, b = (torch.nn.functional.normalize(torch.tensor(v, dtype=torch.float64), dim=0) for v in (start, end))
    rotation = shortest_rotation(a, b)
    torch.testing.assert_close(rotation @ a, b, atol=1e-6, rtol=0)
    assert roma.rotmat_to_rotvec(rotation).norm() == pytest.approx(
        float(torch.atan2((a - b).norm(), (a + b).norm())) * 2
    )


def test_shortest_rotation_of_opposite_and_of_no_direction() -> None:
    axes = torch.eye(3)
    torch.testing.assert_close(shortest_rotation(axes, -axes) @ axes[..., None], -axes[..., None])
    assert torch.equal(shortest_rotation(axes[0], torch.zeros(3)), torch.eye(3)), "a bone without length stays"


def test_golden_intergen_quaternions(golden: Path) -> None:
    """Our matrices are their quaternions."""
    reference = load(golden / "intergen_motion" / "intergen_motion.npz")
    q, r = matrix_from_wxyz(reference["q.q"]), matrix_from_wxyz(reference["q.r"])
    v, w = reference["q.v"], reference["q.w"]
    assert_near(q @ r, matrix_from_wxyz(reference["q.qmul"]))
    assert_near(q.mT, matrix_from_wxyz(reference["q.qinv"]))
    assert_near((q @ v[..., None])[..., 0], reference["q.qrot"])
    assert_near(shortest_rotation(v, w), matrix_from_wxyz(reference["q.qbetween"]))
