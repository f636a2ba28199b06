"""Pinhole camera: there and back, and which way its axes point."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from motion.rotations import matrix_from_axis_angle
from recon.camera import Camera, intrinsics_matrix, project, unproject, unproject_image


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
