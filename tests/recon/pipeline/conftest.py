"""A rendered room of two persons, and the bodies that a reconstruction fits."""

import pytest

from recon.pipeline import Bodies, load_bodies
from recon.simulate import SimulateConfig
from tests.helpers.rooms import Rendered, render


@pytest.fixture(scope="session")
def bodies() -> Bodies:
    return load_bodies()


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    folder = tmp_path_factory.mktemp("rooms") / "home" / "room" / "day" / "time"
    return render(folder, 1, SimulateConfig(num_people=2, num_frames=6, image_size=(256, 192)))
