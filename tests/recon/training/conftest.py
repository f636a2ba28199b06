"""Clips to learn from."""

import pytest

from motion.body import load_body
from recon.training.poses import PoseClip, read_poses

BODY = load_body()


@pytest.fixture(scope="session")
def clips() -> list[PoseClip]:
    return read_poses(None, 40, BODY)
