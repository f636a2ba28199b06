"""Motion of two persons that the pictures show."""

import numpy as np
import pytest
import torch

from motion.body import Body
from motion.sequence import MotionSequence
from tests.helpers.clips import UPRIGHT, simulated


@pytest.fixture(scope="module")
def pair(body: Body) -> MotionSequence:
    """Walk two persons in T-pose along +x side by side for 1.2 s; the second comes in at half time."""
    frames = 24
    x, still = torch.linspace(0, 1, frames), torch.zeros(frames)
    height = float(-body.rest_joints(torch.zeros(10))[:, 1].min())
    transl = torch.stack([torch.stack([x, still + side, still + height], dim=-1) for side in (0.0, 2.0)])
    orient = UPRIGHT.expand(2, frames, 3, 3)
    pose, betas = torch.eye(3).expand(2, frames, 23, 3, 3), torch.zeros(2, 10)
    valid = np.ones((2, frames), dtype=np.bool_)
    valid[1, :12] = False
    texts = ["two people glide forward with their arms held out"]
    return simulated(body, transl, orient, pose, betas, id="made/pair", valid=valid, texts=texts)
