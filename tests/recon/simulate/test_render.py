"""Pictures of rooms and persons: depth, light and shadow."""

import numpy as np
import torch

from motion.body import load_body
from recon.simulate import Simulated
from recon.simulate.cameras import look
from recon.simulate.materials import random_material
from recon.simulate.render import Light, PersonMesh, draw_figure, rays_of, shade, to_bytes
from recon.simulate.rooms import SimulatedRoom, box
from recon.teton import PERSON_LABEL
from tests.helpers.clips import UPRIGHT
from tests.helpers.simulated import world

BODY = load_body()
CAMERA = look(2.2, 25.0, 3.0, 80.0, (64, 48))


def test_people_stand_before_the_room_and_their_depth_is_their_bodies(rooms: list[Simulated]) -> None:
    for room in rooms:
        mine = room.labels >= PERSON_LABEL
        empty = np.broadcast_to(room.background_depth, room.depth.shape)
        assert (room.depth[mine] < empty[mine]).all()
        np.testing.assert_array_equal(room.depth[~mine], empty[~mine])
        for person, frame in np.ndindex(room.seen.shape):
            points = world(room, room.depth[frame])[room.labels[frame] == PERSON_LABEL + person]
            joints = room.motion.joints[person, frame]
            if len(points):
                nearest = np.linalg.norm(points[::7, None] - joints, axis=-1).min(axis=1)
                assert nearest.max() < 0.4


def lit_from(spot: list[float]) -> Light:
    """Make ambient light and a white lamp at `spot`; it is night."""
    one, nothing = np.full(3, 0.5, dtype=np.float32), np.zeros(3, dtype=np.float32)
    return Light(one, np.array(spot, dtype=np.float32), np.ones(3, dtype=np.float32), nothing, nothing)


def test_rays_go_through_their_pixels_by_depth() -> None:
    rays = rays_of(CAMERA)
    points = rays[..., :3] + 3.5 * rays[..., 3:]
    pixels = CAMERA.project(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(pixels, np.stack(np.meshgrid(np.arange(64), np.arange(48)), axis=-1), atol=1e-3)
    np.testing.assert_allclose(CAMERA.to_camera(torch.from_numpy(points))[..., 2], 3.5, atol=1e-5)


def test_light_is_encoded_with_gamma() -> None:
    """Linear 0.2176 is 0.5 to the power of 2.2, which is half of 255; what is too bright is white."""
    found = to_bytes(np.array([[0.0, 0.21763764, 1.0], [-0.5, 7.0, 0.01]]))
    assert np.abs(found.astype(int) - [[0, 127.5, 255], [0, 255, 255 * 0.01 ** (1 / 2.2)]]).max() <= 1


def test_a_person_is_brighter_where_the_lamp_is() -> None:
    """A lamp to the left lights the left half more; the back of no one is in the picture."""
    standing = BODY.v_template.numpy() @ UPRIGHT.numpy().T + np.array([0, 3.0, 1.1])
    model = PersonMesh.of(BODY, np.full((len(standing), 3), 0.6, dtype=np.float32))
    rays = rays_of(CAMERA)
    halves = []
    for x in (-2.0, 2.0):
        drawn = draw_figure(model, standing.astype(np.float32), CAMERA, rays, lit_from([x, 2.5, 1.8]))
        assert drawn is not None
        hit = np.isfinite(drawn.depth)
        x0, y0, x1, y1 = drawn.box
        assert hit.shape == (y1 - y0, x1 - x0)
        assert (drawn.color[hit] > 0.6 * 0.5 * 0.49).all(), "ambient light is half as bright from below as from above"
        assert not drawn.color[~hit].any()
        seen = hit.sum(axis=0) > 0
        middle = np.flatnonzero(seen).mean()
        left = hit & (np.arange(hit.shape[1]) < middle)
        halves.append(drawn.color[left].mean() - drawn.color[hit & ~left].mean())
    assert halves[0] > 0.01 > -0.01 > halves[1]
    away = draw_figure(model, (standing + np.array([50, 0, 0])).astype(np.float32), CAMERA, rays, lit_from([0, 2, 2]))
    assert away is None


def test_people_take_the_lamps_light_from_what_is_behind_them() -> None:
    """The lamp is above a person's head: the floor under them loses the lamp's part and keeps the rest."""
    standing = (BODY.v_template.numpy() @ UPRIGHT.numpy().T + np.array([0, 3.0, 1.1])).astype(np.float32)
    model, rays = PersonMesh.of(BODY, np.ones((len(standing), 3), dtype=np.float32)), rays_of(CAMERA)
    light = lit_from([0.0, 3.0, 2.4])
    drawn = draw_figure(model, standing, CAMERA, rays, light)
    assert drawn is not None
    air = box("none", random_material(np.random.default_rng(0), "wall"), (-4, -4, 0), (4, 8, 2.5))
    room = SimulatedRoom((), light.lamp, light.window, air)
    reach = rays[..., :3] + rays[..., 3:] * (-rays[..., 2:3] / rays[..., 5:]).clip(0, 20)  # the floor
    lamp, color = np.full((48, 64, 3), 0.4, dtype=np.float32), np.full((48, 64, 3), 0.7, dtype=np.float32)
    shade(color, lamp, reach, drawn, light, room, CAMERA)
    under = np.hypot(reach[..., 0], reach[..., 1] - 3) < 0.12
    far = np.hypot(reach[..., 0], reach[..., 1] - 3) > 4.0
    assert under.any()
    assert color[under].min() < 0.7 - 0.3
    assert (color[under] < 0.7 - 0.2).all(), "shadows have soft edges"
    assert (color[far] == np.float32(0.7)).all()
    np.testing.assert_allclose(0.7 - color, 0.4 - lamp, atol=1e-6)
    assert lamp.min() >= 0.04 - 1e-6, "a tenth of the lamp's light comes from elsewhere"
