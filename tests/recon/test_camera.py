"""Pinhole camera: there and back, and which way its axes point."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.rotations import matrix_from_axis_angle
from recon.camera import Camera, intrinsics_matrix, looking_down, project, unproject, unproject_image


def camera(seed: int) -> Camera:
    generator = torch.Generator().manual_seed(seed)
    extrinsics = torch.eye(4)
    extrinsics[:3, :3] = matrix_from_axis_angle(torch.randn(3, generator=generator))
    extrinsics[:3, 3] = torch.randn(3, generator=generator)
    return Camera(intrinsics_matrix(400.0, 410.0, 250.0, 190.0), extrinsics, (512, 384))


@given(st.integers(0, 1000), st.floats(0.5, 20), st.floats(0, 511), st.floats(0, 383))
def test_a_pixel_and_its_depth_come_back(seed: int, depth: float, x: float, y: float) -> None:
    pixel, view = torch.tensor([x, y]), camera(seed)
    point = view.to_world(unproject(pixel, torch.tensor(depth), view.intrinsics))
    torch.testing.assert_close(view.project(point), pixel, atol=2e-2, rtol=0)
    torch.testing.assert_close(view.to_camera(point)[2], torch.tensor(depth), atol=1e-3, rtol=1e-4)


def test_the_optical_axis_meets_the_principal_point_right_is_right_and_down_is_down() -> None:
    intrinsics = camera(0).intrinsics
    ahead = project(torch.tensor([[0.0, 0.0, 3.0], [0.3, 0.0, 3.0], [0.0, 0.3, 3.0]]), intrinsics)
    torch.testing.assert_close(ahead, torch.tensor([[250.0, 190.0], [290.0, 190.0], [250.0, 231.0]]))


def test_the_centre_of_the_camera_is_its_own_origin() -> None:
    view = camera(3)
    torch.testing.assert_close(view.to_camera(view.center), torch.zeros(3), atol=1e-6, rtol=0)


def test_a_depth_map_becomes_a_point_a_pixel() -> None:
    view = camera(1)
    points = unproject_image(torch.full((6, 8), 2.5), view.intrinsics)
    assert points.shape == (6, 8, 3)
    torch.testing.assert_close(project(points, view.intrinsics)[4, 7], torch.tensor([7.0, 4.0]), atol=1e-4, rtol=0)


# Rows are the camera's right, down and forward in the world: x right, y ahead, z up.
LOOKING = {
    "level": (0.0, 0.0, [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "at the floor": (math.pi / 2, 0.0, [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "level, on its right side": (0.0, math.pi / 2, [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
    "at the ceiling": (-math.pi / 2, 0.0, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    "down and rolled, by the triangles 3 4 5 and 5 12 13": (
        math.atan2(3, 4),
        math.atan2(5, 12),
        [[12 / 13, -3 / 13, -4 / 13], [-5 / 13, -7.2 / 13, -9.6 / 13], [0, 0.8, -0.6]],
    ),
}


@pytest.mark.parametrize(("tilt", "roll", "axes"), LOOKING.values(), ids=LOOKING)
def test_the_axes_of_a_camera_that_looks_down_are_these(tilt: float, roll: float, axes: list[list[float]]) -> None:
    np.testing.assert_allclose(looking_down(tilt, roll), axes, atol=1e-12)


@pytest.mark.parametrize("depth", [0.0, 1e-3, 0.1, 1.0, 20.0])
def test_what_is_behind_the_camera_is_not_in_its_image(depth: float) -> None:
    """Were the sign of the depth lost, what is far enough aside would appear in it."""
    x, y = torch.meshgrid(torch.arange(-745.0, 746.0, 14), torch.arange(-585.0, 586.0, 14), indexing="xy")
    across = torch.stack([x / 400, y / 410, torch.zeros_like(x)], dim=-1).flatten(0, 1) * max(depth, 0.1)
    found = project(across - torch.tensor([0.0, 0.0, depth]), camera(0).intrinsics)
    assert found.isfinite().all()
    assert ((found < 0) | (found > torch.tensor([511.0, 383.0]))).any(dim=-1).all()


def test_points_of_pixels_that_are_not_square() -> None:
    """One pixel right is depth / 400 metres, one pixel down depth / 410."""
    points = unproject(
        torch.tensor([[250.0, 190.0], [290.0, 190.0], [250.0, 231.0]]), torch.full((3,), 2.0), camera(0).intrinsics
    )
    torch.testing.assert_close(points, torch.tensor([[0.0, 0.0, 2.0], [0.2, 0.0, 2.0], [0.0, 0.2, 2.0]]))
