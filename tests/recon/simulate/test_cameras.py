"""Cameras of simulated rooms: where they hang and where they look."""

import math

import numpy as np
import pytest
import torch

from motion.sequence import LABELS
from recon.simulate import SimulateConfig, Simulated, simulate
from recon.simulate.cameras import look


def test_camera_hangs_over_the_origin_and_looks_along_y(rooms: list[Simulated]) -> None:
    for room in rooms:
        x, y, z = room.camera.center.tolist()
        assert abs(x) < 1e-5
        assert abs(y) < 1e-5
        assert 2.0 <= z <= 2.8
        forward = room.camera.extrinsics[2, :3]
        assert abs(float(forward[0])) < 1e-6
        assert 20 <= np.degrees(np.arcsin(-float(forward[2]))) <= 50


@pytest.mark.parametrize("tilt", [0.0, 30.0, 60.0])
def test_any_tilt_shows_the_floor(tilt: float) -> None:
    room = simulate(3, SimulateConfig(num_people=1, num_frames=1, tilt=tilt, image_size=(128, 96)))
    forward = room.camera.extrinsics[2, :3]
    assert np.degrees(np.arcsin(-float(forward[2]))) == pytest.approx(tilt, abs=1e-3)
    assert (room.background_labels == LABELS.index("floor")).mean() > 0.04


def test_the_middle_of_the_picture_shows_the_floor_where_the_tilt_says() -> None:
    """A camera 2 m up and 30 degrees down looks 2 m / tan 30 degrees ahead, and 45 degrees to either side."""
    camera = look(2.0, 30.0, 0.0, 90.0, (200, 100))
    assert camera.intrinsics.flatten().tolist() == pytest.approx([100, 0, 99.5, 0, 100, 49.5, 0, 0, 1])
    ahead = 2.0 / math.tan(math.radians(30))
    spots = torch.tensor([[0, ahead, 0], [1, ahead, 0], [0, 2 * ahead, 0]])
    middle, right, beyond = camera.project(spots).tolist()
    assert middle == pytest.approx([99.5, 49.5], abs=1e-3)
    assert right == pytest.approx([99.5 + 100 / math.hypot(ahead, 2), 49.5], abs=1e-3), "x is to the right"
    assert beyond[1] < 49.5, "what is farther away is higher in the picture"


def test_roll_turns_the_picture_about_its_middle() -> None:
    straight, rolled = (look(2.0, 30.0, roll, 90.0, (200, 100)) for roll in (0.0, 10.0))
    spots = torch.tensor([[0.5, 3.0, 0.2], [-1.0, 4.0, 1.0]])
    middle = torch.tensor([99.5, 49.5])
    before, after = (camera.project(spots) - middle for camera in (straight, rolled))
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), atol=1e-3, rtol=0)
    turned = torch.rad2deg(torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[:, 1], before[:, 0]))
    torch.testing.assert_close(turned.abs(), torch.full((2,), 10.0), atol=1e-2, rtol=0)
