"""A room that moves under its persons: heights above its floor are those in the world of its camera."""

import math

import pytest
import torch

from motion.body import load_body
from recon.camera import Camera
from recon.fitting.rooms import MovingRoom, moved
from tests.helpers.fitted_motions import clip, room_camera, standing_at

SPREAD = torch.tensor([math.radians(2), math.radians(1), 0.1])


def test_a_room_that_is_known_stays() -> None:
    camera = room_camera()
    room = MovingRoom(camera, torch.zeros(3), torch.tensor([5.0, -3.0, 2.0]))
    assert torch.allclose(room.fitted_camera().extrinsics, camera.extrinsics, atol=1e-6)
    points = torch.tensor([[0.3, 2.0, 0.0], [1.0, 4.0, 1.7]])
    assert torch.allclose(room.height(points), points[:, 2], atol=1e-6)


@pytest.mark.parametrize("change", [(1.0, 0.0, 0.0), (0.0, -2.0, 0.0), (0.0, 0.0, 1.5), (-2.0, 1.0, -1.0)])
def test_heights_are_those_in_the_world_of_the_fitted_camera(change: tuple[float, float, float]) -> None:
    camera = room_camera()
    room = MovingRoom(camera, SPREAD, torch.tensor(change))
    points = torch.tensor([[0.3, 2.0, 0.0], [1.0, 4.0, 1.7], [-1.0, 3.0, 0.4]])
    after = room.fitted_camera()
    assert torch.allclose(room.height(points), after.to_world(camera.to_camera(points))[:, 2], atol=1e-5)
    assert float(after.center[2]) == pytest.approx(2.4 * math.exp(0.1 * change[2]), rel=1e-5)
    assert float(room.scale) == pytest.approx(math.exp(0.1 * change[2]), rel=1e-5)


def test_a_floor_tilts_about_the_cameras_axes() -> None:
    """Two standard deviations of 2 degrees: the camera looks 4 degrees more, or less, down on it."""
    room = MovingRoom(room_camera(), SPREAD, torch.tensor([2.0, 0.0, 0.0]))
    downwards = math.degrees(math.asin(-float(room.fitted_camera().extrinsics[2, 2])))
    assert abs(downwards - 30) == pytest.approx(4, abs=1e-3)


def test_persons_stay_before_the_camera() -> None:
    body, before = load_body(), room_camera()
    people = standing_at(clip("walk", 10.0), 0.3, 3.5)
    after: Camera = MovingRoom(before, SPREAD, torch.tensor([2.0, -1.0, 1.0])).fitted_camera()
    joints = moved(people, before, after, body).joints(body)
    assert torch.allclose(after.to_camera(joints), before.to_camera(people.joints(body)), atol=1e-4)
