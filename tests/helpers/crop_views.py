"""Crops of persons drawn as blots, with the targets that belong to them."""

import numpy as np
import roma
import torch

from motion.body import load_body
from motion.smpl_parameters import SmplParameters
from recon.camera import project
from recon.regressors.crops import crop_square
from recon.training.hmr2_views import MARGIN, UNIT_CAMERA, Views

BODY = load_body()
FOCAL = 400.0


def some_views(count: int) -> Views:
    """Draw persons as blots alone: the left wrist red, the head green, the right foot blue."""
    random = torch.Generator().manual_seed(0)
    betas = torch.randn(count, 10, generator=random)
    low, high = torch.tensor([-0.75, -0.5, 4.5]), torch.tensor([0.75, 0.5, 5.5])
    pelvis = low + (high - low) * torch.rand(count, 3, generator=random)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    orient = upright @ roma.rotvec_to_rotmat(0.3 * torch.randn(count, 3, generator=random))
    pose = roma.rotvec_to_rotmat(0.2 * torch.randn(count, 23, 3, generator=random))
    people = SmplParameters.from_pelvis(pelvis, torch.cat([orient[:, None], pose], dim=1), betas, BODY)
    pixels = project(people.joints(BODY), UNIT_CAMERA) * FOCAL + 250
    rows, columns = np.mgrid[:500, :500]
    images, squares = [], []
    for joints in pixels.numpy():
        image = np.zeros((500, 500, 3))
        for channel, joint in ((0, 20), (1, 15), (2, 11)):
            x, y = joints[joint]
            image[..., channel] = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
        first, last = joints.min(axis=0), joints.max(axis=0)
        center, reach = (first + last) / 2, MARGIN * (last - first).max() / 2 * np.array([0.7, 1.0])
        crop, square = crop_square(image.astype(np.uint8), np.concatenate([center - reach, center + reach]))
        images.append(crop)
        squares.append((square - [250, 250, 0]) / [1, 1, MARGIN] / FOCAL)
    stacked = torch.from_numpy(np.stack(squares)).float()
    return Views(torch.from_numpy(np.stack(images)), stacked, people)


VIEWS = some_views(8)
