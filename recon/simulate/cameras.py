"""Random cameras that hang in a corner of the ceiling and look into the room."""

import math

import numpy as np
import torch

from motion.rotations import yaw_matrix
from recon.camera import Camera, intrinsics_matrix, looking_down
from recon.simulate.rooms import SimulatedRoom

HEIGHTS_M = (2.0, 2.8)  # above the floor
TILTS_DEG = (20.0, 50.0)  # below the horizon
FIELDS_OF_VIEW_DEG = (55.0, 100.0)  # horizontal
ROLL_SPREAD_DEG = 1.5  # standard deviation


def hang(
    rng: np.random.Generator,
    room: SimulatedRoom,
    corner: int,
    image_size: tuple[int, int],
    tilt: float | None,
    field_of_view: float | None,
) -> tuple[SimulatedRoom, Camera]:
    """Hang a camera in a corner of `room`; return the room in the camera's world, and the camera.

    That world's origin is on the floor below the camera, its y axis where the camera looks. `tilt` is in degrees below
    the horizon, `field_of_view` horizontal in degrees; None draws them at random.
    """
    x, y, z = _hook(rng, room, corner)
    towards = math.atan2(room.inside.half[1] - y, room.inside.half[0] - x) + math.radians(rng.normal() * 6)
    spin = math.pi / 2 - towards
    offset = -yaw_matrix(spin).astype(np.float64) @ [x, y, 0]
    tilt = rng.uniform(*TILTS_DEG) if tilt is None else tilt
    field_of_view = rng.uniform(*FIELDS_OF_VIEW_DEG) if field_of_view is None else field_of_view
    return room.moved(spin, offset), look(float(z), tilt, rng.normal() * ROLL_SPREAD_DEG, field_of_view, image_size)


def _hook(rng: np.random.Generator, room: SimulatedRoom, corner: int) -> tuple[float, float, float]:
    """Draw where the camera hangs in a corner (metres, in the room)."""
    width, length, height = 2 * room.inside.half[0], 2 * room.inside.half[1], room.lamp[2] + 0.15
    gap = rng.uniform(0.08, 0.25, size=2)
    x = width - gap[0] if corner in (1, 2) else gap[0]
    y = length - gap[1] if corner in (2, 3) else gap[1]
    return x, y, rng.uniform(HEIGHTS_M[0], min(HEIGHTS_M[1], height - 0.1))


def look(height: float, tilt: float, roll: float, field_of_view: float, image_size: tuple[int, int]) -> Camera:
    """Build the camera `height` metres above the origin that looks along y, `tilt` degrees down.

    `roll` turns it about its optical axis (degrees); `field_of_view` is horizontal (degrees); square pixels.
    """
    extrinsics = torch.eye(4, dtype=torch.float64)
    extrinsics[:3, :3] = torch.from_numpy(looking_down(math.radians(tilt), math.radians(roll)))
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ torch.tensor([0.0, 0.0, height], dtype=torch.float64)
    width, rows = image_size
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    return Camera(intrinsics_matrix(focal, focal, (width - 1) / 2, (rows - 1) / 2), extrinsics.float(), image_size)
