"""The pinhole camera of a room: OpenCV axes (x right, y down, z forward), pixels, metres.

Pixel (0, 0) is the centre of the top left pixel. No lens distortion: undistort frames before they come here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Camera:
    """Pinhole camera: `extrinsics` map world to camera (metres), `image_size` is (width, height) in pixels."""

    intrinsics: Float[Tensor, "3 3"]
    """Pinhole matrix in pixels."""
    extrinsics: Float[Tensor, "4 4"]
    """Transform from world to camera (metres)."""
    image_size: tuple[int, int]
    """Width and height in pixels."""

    def project(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
        """Project world points to pixels; points behind the camera give meaningless pixels."""
        return project(self.to_camera(points), self.intrinsics)

    def to_camera(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Map world points to the camera's frame."""
        return points @ self.extrinsics[:3, :3].T + self.extrinsics[:3, 3]

    def to_world(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Map points in the camera's frame to the world."""
        return (points - self.extrinsics[:3, 3]) @ self.extrinsics[:3, :3]

    @property
    def center(self) -> Float[Tensor, "3"]:
        """Position of the camera in the world (metres)."""
        return -self.extrinsics[:3, :3].T @ self.extrinsics[:3, 3]


def intrinsics_matrix(fx: float, fy: float, cx: float, cy: float) -> Float[Tensor, "3 3"]:
    """Build the intrinsic matrix of focal lengths and principal point in pixels."""
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def looking_down(tilt: float, roll: float) -> Float64[np.ndarray, "3 3"]:
    """Compute the world-to-camera rotation of a camera looking along world y, `tilt` down, rolled by `roll` (rad)."""
    right, forward = np.array([1.0, 0.0, 0.0]), np.array([0.0, math.cos(tilt), -math.sin(tilt)])
    below = np.cross(forward, right)
    turned = [math.cos(roll) * right + math.sin(roll) * below, math.cos(roll) * below - math.sin(roll) * right]
    return np.stack([*turned, forward])


def project(points: Float[Tensor, "*batch 3"], intrinsics: Float[Tensor, "*camera 3 3"]) -> Float[Tensor, "*batch 2"]:
    """Project points in the camera's frame to pixels; many cameras have the points' axes, except the last two."""
    in_image = points @ intrinsics.mT
    return in_image[..., :2] / in_image[..., 2:].clamp_min(1e-6)


def unproject(
    pixels: Float[Tensor, "*batch 2"], depth: Float[Tensor, "*batch"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "*batch 3"]:
    """Compute the points in the camera's frame that pixels show at a `depth` along the optical axis."""
    x = (pixels[..., 0] - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (pixels[..., 1] - intrinsics[1, 2]) / intrinsics[1, 1]
    return torch.stack([x, y, torch.ones_like(x)], dim=-1) * depth[..., None]


def unproject_image(
    depth: Float[Tensor, "height width"], intrinsics: Float[Tensor, "3 3"]
) -> Float[Tensor, "height width 3"]:
    """Compute every pixel's point of a depth map, in the camera's frame."""
    rows, columns = (torch.arange(size, dtype=depth.dtype) for size in depth.shape)
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    return unproject(pixels, depth, intrinsics)
