"""Focal length from edges: that of drawn and of real rooms, and not where edges tell nothing."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.calibration.attitude import Attitude, Edges, attitude_by_depth, strongest_edges
from recon.calibration.focal_length import Calibration
from recon.calibration.vanishing_points import focal_by_edges
from recon.camera import intrinsics_matrix, unproject_image
from recon.floor import find_floor, fit_floor
from tests.helpers.drawn_rooms import INTRINSICS, NOTHING_HIDDEN, drawn
from tests.helpers.rgbd import read_color, read_depth

FOCAL = float(INTRINSICS[0, 0])


def believed(longer: float, error: float) -> Calibration:
    """Believe in a focal length whose logarithm is too large by `longer`."""
    focal = FOCAL * math.exp(longer)
    return Calibration(intrinsics_matrix(focal, focal, *INTRINSICS[:2, 2].tolist()), error, 0)


def by_depth(tilt: float, longer: float) -> Attitude:
    """Tell the attitude as depth does, which shows the horizon's height in the picture."""
    return Attitude(np.array([math.atan(math.tan(tilt) * math.exp(-longer)), 0.0]), np.array([0.02, 0.03]))


@pytest.mark.parametrize("longer", [-0.4, -0.1, 0.3])
@pytest.mark.parametrize(("tilt", "yaw"), [(38, 25), (30, 70)])
def test_edges_of_a_room_tell_the_focal_length(tilt: float, yaw: float, longer: float) -> None:
    calibration = believed(longer, 0.4)
    picture = drawn(math.radians(tilt), 0.0, math.radians(yaw))
    edges = strongest_edges(picture, NOTHING_HIDDEN, calibration.intrinsics)
    found = focal_by_edges(edges, by_depth(math.radians(tilt), longer), calibration)
    assert found.edges
    error = math.log(float(found.intrinsics[0, 0]) / FOCAL)
    assert abs(error) < 0.06
    assert abs(error) < 2 * found.relative_error < 0.3
    torch.testing.assert_close(found.intrinsics[:, 2], INTRINSICS[:, 2])
    assert found.intrinsics[1, 1] == found.intrinsics[0, 0]


def test_people_who_are_sure_are_believed() -> None:
    """The two are put together by their errors: a focal length that is wrong and certain stays."""
    calibration = believed(0.2, 0.005)
    edges = strongest_edges(drawn(0.6, 0.0, 0.5), NOTHING_HIDDEN, calibration.intrinsics)
    found = focal_by_edges(edges, by_depth(0.6, 0.2), calibration)
    assert math.log(float(found.intrinsics[0, 0]) / FOCAL) == pytest.approx(0.2, abs=0.02)
    assert found.relative_error <= 0.005


def test_edges_that_tell_nothing_change_nothing(rng: np.random.Generator) -> None:
    calibration, before = believed(0.2, 0.4), by_depth(0.6, 0.2)
    angle = rng.uniform(0, 2 * math.pi, 3000)
    anywhere = Edges(rng.uniform(-0.5, 0.5, (3000, 2)), np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert focal_by_edges(anywhere, before, calibration) is calibration
    none = Edges(np.zeros((0, 2)), np.zeros((0, 2)))
    assert focal_by_edges(none, before, calibration) is calibration


@pytest.mark.parametrize(
    "name", ["NYU_depth.pgm", "SUN_depth.png", "TUM_depth.png", "depth_00000.png", "depth_00004.png"]
)
def test_edges_of_real_rooms_tell_the_focal_length(name: str, shared_data: Path) -> None:
    """The sensors' focal length is 525 pixels; 70 degrees of view, which are assumed, would be 457."""
    depth = torch.from_numpy(read_depth(name, shared_data))
    true, usual = (intrinsics_matrix(f, f, 319.5, 239.5) for f in (525.0, 320 / math.tan(math.radians(35))))
    on_floor = np.abs(find_floor(points := unproject_image(depth, true.double()).numpy()).distance(points)) < 0.05
    seen = fit_floor(unproject_image(depth, usual.double()).numpy()[on_floor])
    edges = strongest_edges(read_color(name, shared_data), np.zeros(depth.shape, dtype=bool), usual)
    found = focal_by_edges(edges, attitude_by_depth(seen.normal, 0.02), Calibration(usual, 0.4, 0))
    assert abs(math.log(float(found.intrinsics[0, 0]) / 525)) < 0.08
