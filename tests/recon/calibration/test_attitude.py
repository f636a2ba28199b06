"""Tilt and roll of a camera from edges: back to those of a drawn room, and not where edges tell nothing."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float64

from recon.calibration.attitude import Attitude, Edges, attitude_by_depth, attitude_by_edges, strongest_edges
from recon.camera import intrinsics_matrix, looking_down, unproject_image
from recon.floor import find_floor
from tests.helpers.drawn_rooms import INTRINSICS, NOTHING_HIDDEN, SIZE, drawn
from tests.helpers.rgbd import read_color, read_depth


@pytest.mark.parametrize(("tilt", "roll", "yaw"), [(30, 0, 0), (38, 2.5, 25), (22, -1.5, 70)])
def test_edges_of_a_room_tell_how_the_camera_is_turned(tilt: float, roll: float, yaw: float) -> None:
    true = np.radians([tilt, roll])
    edges = strongest_edges(drawn(*true, math.radians(yaw)), NOTHING_HIDDEN, INTRINSICS)
    before = Attitude(true + np.radians([7.0, -3.0]), np.radians([8.0, 3.0]))
    found = attitude_by_edges(edges, before)
    np.testing.assert_allclose(found.mean, true, atol=math.radians(1.5))
    assert (found.spread < np.radians(2)).all()


@pytest.mark.parametrize(
    "name", ["NYU_depth.pgm", "SUN_depth.png", "TUM_depth.png", "depth_00000.png", "depth_00004.png"]
)
def test_edges_of_real_rooms_tell_how_the_camera_is_turned(name: str, shared_data: Path) -> None:
    """Without any depth, from a tilt that is 6 degrees off, as near as the floor of the sensor's own depth is known."""
    depth = torch.from_numpy(read_depth(name, shared_data))
    intrinsics = intrinsics_matrix(525.0, 525.0, 319.5, 239.5)
    floor = find_floor(unproject_image(depth, intrinsics.double()).numpy())
    true = attitude_by_depth(floor.normal, 0.0).mean
    edges = strongest_edges(read_color(name, shared_data), np.zeros(depth.shape, dtype=bool), intrinsics)
    before = Attitude(np.array([true[0] + math.radians(6), 0.0]), np.radians([8.0, 2.0]))
    found = attitude_by_edges(edges, before)
    np.testing.assert_allclose(found.mean, true, atol=math.radians(2.5))


def test_a_floor_that_is_known_well_stays() -> None:
    edges = strongest_edges(drawn(math.radians(30), 0.0, 0.0), NOTHING_HIDDEN, INTRINSICS)
    known = Attitude(np.radians([33.0, 1.0]), np.radians([0.1, 0.1]))
    np.testing.assert_allclose(attitude_by_edges(edges, known).mean, known.mean, atol=math.radians(0.3))


@pytest.mark.parametrize("tilt", [-30.0, 88.0])
def test_a_camera_of_an_unusual_tilt_keeps_it(tilt: float) -> None:
    edges = strongest_edges(drawn(math.radians(30), 0.0, 0.0), NOTHING_HIDDEN, INTRINSICS)
    known = Attitude(np.radians([tilt, 0.0]), np.radians([0.1, 0.1]))
    found = attitude_by_edges(edges, known)
    np.testing.assert_allclose(found.mean, known.mean, atol=math.radians(0.5))
    assert (found.spread <= known.spread).all()


def test_edges_in_any_direction_tell_nothing(rng: np.random.Generator) -> None:
    angle, before = rng.uniform(0, 2 * math.pi, 4000), Attitude(np.radians([30.0, 0.0]), np.radians([3.0, 2.0]))
    place = rng.uniform((-0.6, -0.5), (0.6, 0.5), (4000, 2))
    found = attitude_by_edges(Edges(place, np.stack([np.cos(angle), np.sin(angle)], axis=1)), before)
    assert (np.abs(found.mean - before.mean) < 2 * before.spread).all()
    assert attitude_by_edges(Edges(place[:0], place[:0]), before) is before


def test_an_edge_lies_on_its_step_and_points_across_it() -> None:
    image = np.full((*SIZE[::-1], 3), 60, dtype=np.uint8)
    image[:, 200:] = 180
    edges = strongest_edges(image, NOTHING_HIDDEN, INTRINSICS)
    np.testing.assert_allclose(edges.place[:, 0], (199.5 - 159.5) / 250, atol=0.6 / 250)
    np.testing.assert_allclose(edges.across, np.broadcast_to([1.0, 0.0], edges.across.shape), atol=1e-6)
    assert len(edges.place) > 200


def test_what_is_hidden_has_no_edge() -> None:
    """A person was cut out of the picture: neither the black hole nor its rim is an edge of the room."""
    image, hidden = np.full((*SIZE[::-1], 3), 60, dtype=np.uint8), NOTHING_HIDDEN.copy()
    hidden[80:160, 100:140] = True
    image[hidden] = 0
    assert not len(strongest_edges(image, hidden, INTRINSICS).place)
    assert len(strongest_edges(image, NOTHING_HIDDEN, INTRINSICS).place)


@pytest.mark.parametrize(("tilt", "roll"), [(0.0, 0.0), (35.0, 3.0), (60.0, -4.0)])
def test_a_floor_tells_the_attitude(tilt: float, roll: float) -> None:
    normal: Float64[np.ndarray, "3"] = looking_down(*np.radians([tilt, roll]))[:, 2]
    exact, rough = attitude_by_depth(normal, 0.0), attitude_by_depth(normal, math.radians(2))
    np.testing.assert_allclose(np.degrees(exact.mean), [tilt, roll], atol=0.05)
    np.testing.assert_allclose(exact.normal, normal, atol=1e-3)
    np.testing.assert_allclose(np.degrees(rough.mean), [tilt, roll / 2], atol=1e-6)
    np.testing.assert_allclose(np.degrees(rough.spread), [2, math.sqrt(2)], atol=1e-6)


def test_an_unsure_focal_length_makes_the_tilt_unsure() -> None:
    """A horizon that is known lies at f tan(tilt): a tenth more of f takes a tenth off the tangent."""
    known = Attitude(np.array([0.5, 0.1]), np.array([0.003, 0.02]))
    found = known.with_unsure_focal_length(0.1)
    assert found.spread[0] == pytest.approx(0.5 - math.atan(math.tan(0.5) / 1.1), rel=0.1)
    assert found.spread[1] == 0.02
    level = Attitude(np.zeros(2), np.array([0.003, 0.02])).with_unsure_focal_length(0.4)
    np.testing.assert_allclose(level.spread, [0.003, 0.02])
