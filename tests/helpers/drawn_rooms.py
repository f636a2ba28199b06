"""Rooms drawn with lines, for what edges tell of a camera."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from recon.camera import Camera, intrinsics_matrix, looking_down

SIZE = (320, 240)
INTRINSICS = intrinsics_matrix(250.0, 250.0, 159.5, 119.5)
NOTHING_HIDDEN = np.zeros(SIZE[::-1], dtype=bool)


def drawn(tilt: float, roll: float, yaw: float) -> np.ndarray:
    """Draw boxes that stand along the walls of a room turned by `yaw`, 2.4 m below a camera (radians)."""
    extrinsics = torch.eye(4)
    extrinsics[:3, :3] = torch.from_numpy(looking_down(tilt, roll))
    extrinsics[:3, 3] = extrinsics[:3, :3] @ torch.tensor([0.0, 0.0, -2.4])
    camera = Camera(INTRINSICS, extrinsics, SIZE)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    image = Image.new("L", (4 * SIZE[0], 4 * SIZE[1]), 90)
    pen = ImageDraw.Draw(image)
    for place in ((-0.8, 3.4, 0.0), (0.7, 3.0, 0.0), (0.1, 4.4, 0.6), (1.4, 4.8, 0.2), (-1.6, 4.6, 0.5)):
        corners = np.array(place) + np.indices((2, 2, 2)).reshape(3, 8).T * (0.7, 0.6, 0.9) @ turn.T
        pixels = 4 * camera.project(torch.from_numpy(corners).float()).numpy() + 1.5
        for one in range(8):
            for axis in (1, 2, 4):
                if not one & axis:
                    pen.line([tuple(pixels[one]), tuple(pixels[one | axis])], fill=220, width=10)
    return np.repeat(np.asarray(image.reduce(4))[..., None], 3, axis=2)
