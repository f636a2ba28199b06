"""A camera in the corner of the ceiling."""

import math

import numpy as np
import torch

from recon.camera import Camera, intrinsics_matrix, looking_down
from recon.simulate.rooms import Room

HEIGHTS = (2.0, 2.8)  # metres
TILTS = (20.0, 50.0)  # degrees below the horizon
FIELDS_OF_VIEW = (55.0, 100.0)  # degrees, horizontal
ROLL = 1.5  # degrees, standard deviation


def hang(
    rng: np.random.Generator,
    room: Room,
    corner: int,
    image_size: tuple[int, int],
    tilt: float | None,
    field_of_view: float | None,
) -> tuple[Room, Camera]:
    """A camera in a corner of `room`, and the room in the world whose origin is on the floor below the camera and whose
    y axis is where the camera looks."""
    width, length, height = 2 * room.inside.half[0], 2 * room.inside.half[1], room.lamp[2] + 0.15
    gap = rng.uniform(0.08, 0.25, size=2)
    x = width - gap[0] if corner in (1, 2) else gap[0]
    y = length - gap[1] if corner in (2, 3) else gap[1]
    z = rng.uniform(HEIGHTS[0], min(HEIGHTS[1], height - 0.1))
    towards = math.atan2(length / 2 - y, width / 2 - x) + math.radians(rng.normal() * 6)
    spin = math.pi / 2 - towards
    offset = -np.array([math.cos(spin) * x - math.sin(spin) * y, math.sin(spin) * x + math.cos(spin) * y, 0])
    tilt = rng.uniform(*TILTS) if tilt is None else tilt
    field_of_view = rng.uniform(*FIELDS_OF_VIEW) if field_of_view is None else field_of_view
    return room.moved(spin, offset), look(float(z), tilt, rng.normal() * ROLL, field_of_view, image_size)


def look(height: float, tilt: float, roll: float, field_of_view: float, image_size: tuple[int, int]) -> Camera:
    """The camera above the origin that looks along y, `tilt` degrees down, rolled about its own axis."""
    extrinsics = torch.eye(4, dtype=torch.float64)
    extrinsics[:3, :3] = torch.from_numpy(looking_down(math.radians(tilt), math.radians(roll)))
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ torch.tensor([0.0, 0.0, height], dtype=torch.float64)
    width, rows = image_size
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    return Camera(intrinsics_matrix(focal, focal, (width - 1) / 2, (rows - 1) / 2), extrinsics.float(), image_size)
