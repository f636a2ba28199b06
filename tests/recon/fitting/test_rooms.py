"""A room that moves under its persons: heights above its floor are those in the world of its camera."""

import math

import pytest
import torch

from motion.body import load_body
from recon.camera import Camera
from recon.fitting.rooms import MovingRooms, moved
from tests.helpers.fitted_motions import clip, room_camera, standing_at

SPREAD = (math.radians(2), math.radians(1), 0.1)


def rooms(change: tuple[float, float, float], spread: tuple[float, float, float] = SPREAD) -> MovingRooms:
    """Move a room of one person, beside another one that stays."""
    both = torch.tensor([(0.0, 0.0, 0.0), change], dtype=torch.float64)
    spreads = torch.tensor([SPREAD, spread], dtype=torch.float64)
    return MovingRooms((room_camera(), room_camera()), spreads, both, torch.tensor([1]))


def test_a_room_that_is_known_stays() -> None:
    camera = room_camera()
    room = rooms((5.0, -3.0, 2.0), (0.0, 0.0, 0.0))
    assert torch.allclose(room.fitted_cameras()[1].extrinsics, camera.extrinsics, atol=1e-6)
    points = torch.tensor([[0.3, 2.0, 0.0], [1.0, 4.0, 1.7]])
    assert torch.allclose(room.height(points[None, None])[0, 0], points[:, 2], atol=1e-6)


@pytest.mark.parametrize("change", [(1.0, 0.0, 0.0), (0.0, -2.0, 0.0), (0.0, 0.0, 1.5), (-2.0, 1.0, -1.0)])
def test_heights_are_those_in_the_world_of_the_fitted_camera(change: tuple[float, float, float]) -> None:
    camera = room_camera()
    room = rooms(change)
    points = torch.tensor([[0.3, 2.0, 0.0], [1.0, 4.0, 1.7], [-1.0, 3.0, 0.4]])
    after = room.fitted_cameras()[1]
    assert torch.allclose(
        room.height(points[None, None])[0, 0], after.to_world(camera.to_camera(points))[:, 2], atol=1e-5
    )
    assert torch.allclose(room.seen(points[None, None])[0, 0], camera.to_camera(points), atol=1e-6)
    assert torch.allclose(room.fitted_cameras()[0].extrinsics, camera.extrinsics, atol=1e-6), "the other room stays"
    assert float(after.center[2]) == pytest.approx(2.4 * math.exp(0.1 * change[2]), rel=1e-5)
    assert float(room.scale) == pytest.approx(math.exp(0.1 * change[2]), rel=1e-5)


def test_a_floor_tilts_about_the_cameras_axes() -> None:
    """Two standard deviations of 2 degrees: the camera looks 4 degrees more, or less, down on it."""
    room = rooms((2.0, 0.0, 0.0))
    downwards = math.degrees(math.asin(-float(room.fitted_cameras()[1].extrinsics[2, 2])))
    assert abs(downwards - 30) == pytest.approx(4, abs=1e-3)


def test_persons_stay_before_the_camera() -> None:
    body, before = load_body(), room_camera()
    people = standing_at(clip("walk", 10.0), 0.3, 3.5)
    after: Camera = rooms((2.0, -1.0, 1.0)).fitted_cameras()[1]
    joints = moved(people, before, after, body).joints(body)
    assert torch.allclose(after.to_camera(joints), before.to_camera(people.joints(body)), atol=1e-4)
