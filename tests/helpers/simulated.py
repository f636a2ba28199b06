"""Rooms that many tests of the simulation look at, and their points in the world."""

import numpy as np
import torch

from recon.camera import unproject_image
from recon.simulate import SimulateConfig, Simulated

SIZE = (192, 144)
SHORT = SimulateConfig(num_frames=4, fps=2.0, image_size=SIZE)
SEEDS = range(5)


def world(room: Simulated, depth: np.ndarray) -> np.ndarray:
    return room.camera.to_world(unproject_image(torch.from_numpy(depth), room.camera.intrinsics)).numpy()
