"""A clip and a room, made at random."""

import pytest

from motion.body import load_body
from motion.sequence import MotionSequence, Scene
from tests.helpers.clips import random_clip
from tests.helpers.scenes import random_scene


@pytest.fixture(scope="module")
def clip() -> MotionSequence:
    return random_clip(load_body())


@pytest.fixture(scope="module")
def scene() -> Scene:
    return random_scene()
