"""Five small rooms."""

import pytest

from recon.simulate import Simulated, simulate
from tests.helpers.simulated import SEEDS, SHORT


@pytest.fixture(scope="session")
def rooms() -> list[Simulated]:
    return [simulate(seed, SHORT) for seed in SEEDS]
