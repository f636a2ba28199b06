"""Conversion from the crop's own view to the room's camera and back."""

from dataclasses import replace

import numpy as np
import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.smpl_parameters import SmplParameters
from recon.camera import intrinsics_matrix, project, unproject
from recon.regressors import CropEstimates
from recon.regressors.body_regressor import from_camera, in_camera

BODY = load_body()
WIDE = intrinsics_matrix(300.0, 310.0, 256.0, 192.0)  # 81 degrees across 512 px


def people(seed: int, count: int) -> SmplParameters:
    """Draw upright persons anywhere before a wide camera that looks down."""
    random = torch.Generator().manual_seed(seed)
    betas = torch.randn(count, 10, generator=random)
    pixels = torch.rand(count, 2, generator=random) * torch.tensor([512.0, 384.0])
    pelvis = unproject(pixels, 2.5 + 4 * torch.rand(count, generator=random), WIDE)
    yaw = torch.zeros(count, 3)
    yaw[:, 1] = 6.3 * torch.rand(count, generator=random)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    tilt = roma.rotvec_to_rotmat(torch.tensor([0.6, 0.0, 0.0]))
    orient = tilt @ upright @ roma.rotvec_to_rotmat(yaw)
    pose = roma.rotvec_to_rotmat(0.3 * torch.randn(count, 23, 3, generator=random))
    return SmplParameters.from_pelvis(pelvis, torch.cat([orient[:, None], pose], dim=1), betas, BODY)


def squares_around(pixels: torch.Tensor) -> torch.Tensor:
    low, high = pixels.amin(dim=1), pixels.amax(dim=1)
    return torch.cat([(low + high) / 2, 1.2 * (high - low).amax(dim=1, keepdim=True)], dim=1)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_perfect_estimates_give_the_pose_back(seed: int) -> None:
    truth = people(seed, 5)
    squares = squares_around(project(truth.joints(BODY), WIDE))
    again = in_camera(from_camera(truth, squares, WIDE, BODY), squares, WIDE, BODY)
    torch.testing.assert_close(again.transl, truth.transl, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.global_orient, truth.global_orient, atol=1e-5, rtol=0.0)
    assert torch.equal(again.body_pose, truth.body_pose)
    assert torch.equal(again.betas, truth.betas)


def official(cam: torch.Tensor, squares: torch.Tensor, focal: float) -> torch.Tensor:
    """Compute 4D-Humans' camera in the whole image, with a focal length of our own."""
    scaled = squares[:, 2] * cam[:, 0]
    across = cam[:, 1:] + 2 * (squares[:, :2] - torch.tensor([256.0, 192.0])) / scaled[:, None]
    return torch.cat([across, 2 * focal / scaled[:, None]], dim=1)


def test_on_the_axis_it_is_the_authors_formula() -> None:
    count = 4
    squares = torch.tensor([[256.0, 192.0, 180.0]]).expand(count, 3)
    cam = torch.tensor([0.9, 0.0, 0.0]) + 0.2 * torch.randn(count, 3)
    orient = roma.random_rotmat(count)
    estimates = CropEstimates(orient, roma.random_rotmat(count * 23).view(count, 23, 3, 3), torch.randn(count, 10), cam)
    found = in_camera(estimates, squares, intrinsics_matrix(400.0, 400.0, 256.0, 192.0), BODY)
    torch.testing.assert_close(found.transl, official(cam, squares, 400.0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.global_orient, orient)


def fitted_cam(points: torch.Tensor, pixels: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """Fit the best weak-perspective camera: the answer of a network trained on reprojection."""
    seen = (pixels - squares[:, None, :2]) * 2 / squares[:, None, 2:]
    own, wanted = (x - x.mean(dim=1, keepdim=True) for x in (points[..., :2], seen))
    scale = (own * wanted).sum(dim=(1, 2)) / own.square().sum(dim=(1, 2))
    shift = seen.mean(dim=1) / scale[:, None] - points[..., :2].mean(dim=1)
    return torch.cat([scale[:, None], shift], dim=1)


def test_the_ray_matters_in_a_wide_camera() -> None:
    camera = intrinsics_matrix(300.0, 300.0, 256.0, 192.0)
    drawn = people(0, 300)
    drawn = drawn[drawn.joints(BODY)[..., 2].amin(dim=1) > 0.8]
    truth = drawn.joints(BODY)
    pixels = project(truth, camera)
    squares = squares_around(pixels)
    perfect = from_camera(drawn, squares, camera, BODY)
    cam = fitted_cam(perfect.bodies.joints(BODY), pixels, squares)
    ours = in_camera(replace(perfect, cam=cam), squares, camera, BODY)
    found = {
        "ray": ours.joints(BODY),
        "none": replace(perfect.bodies, transl=official(cam, squares, 300.0)).joints(BODY),
    }
    errors = {name: float((project(points, camera) - pixels).norm(dim=-1).mean()) for name, points in found.items()}
    apart = {name: float((points - truth).norm(dim=-1).mean()) for name, points in found.items()}
    assert errors["ray"] < 0.4 * errors["none"]
    assert apart["ray"] < 0.8 * apart["none"]
    depth_bias = (ours.transl - drawn.transl)[:, 2].mean() / drawn.transl[:, 2].mean()
    assert abs(float(depth_bias)) < 0.05


@pytest.mark.parametrize("scale", [0.0, -1.0, 1e-9])
def test_absurd_scales_stay_finite_and_before_the_camera(scale: float) -> None:
    estimates = CropEstimates(
        torch.eye(3)[None], torch.eye(3).expand(1, 23, 3, 3), torch.zeros(1, 10), torch.tensor([[scale, 0.1, 0.1]])
    )
    transl = in_camera(estimates, torch.tensor([[10.0, 10.0, 50.0]]), WIDE, BODY).transl
    assert np.isfinite(transl.numpy()).all()
    assert transl[0, 2] > 0
