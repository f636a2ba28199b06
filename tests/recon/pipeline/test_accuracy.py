"""Errors of reconstructions whose errors are known, and of the uncertainty that they claim."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from recon.camera import Camera
from recon.depth import DepthFusion
from recon.floor import Plane
from recon.pipeline import Reconstruction, Room
from recon.pipeline.accuracy import Errors, compare
from recon.pipeline.record import Quality
from recon.simulate import Truth
from tests.helpers.scenes import scene_of
from tests.helpers.truths import BODY, FRAMES, OF_PERSONS, true_room

ALONG_M = 0.1  # standard deviation that every reconstruction here claims
STATURE_M = 1.7  # of every person who is reconstructed
OF_PERSONS_ALONE = ("within_sigma", "away_m", "along_m", "stature_error")


def made_of(truth: Truth, motion: MotionSequence, camera: Camera, names: tuple[str, ...]) -> Reconstruction:
    """Build a reconstruction in which only persons and camera have content."""
    none = np.zeros((0, 2, 2), dtype=np.float32)
    plane, fusion = Plane(np.array([0.0, -1.0, 0.0]), 2.4, 1.0), DepthFusion(1.0, 0.0, 1.0, 0.0)
    seen = {"intrinsics": camera.intrinsics.numpy(), "extrinsics": camera.extrinsics.numpy()}
    scene = replace(scene_of(np.zeros((1, 3)), 0), image_size=camera.image_size, **seen)
    room = Room(camera, plane, none, np.zeros((2, 2), dtype=np.float32), fusion, None)
    quality = tuple(
        Quality(
            name, FRAMES if name in names else 0, 1.0, 0.0, 0.0, 0.0, STATURE_M, 0.5, None, 0.0, ALONG_M, 0.01, 0.0, {}
        )
        for name in truth.object_ids
    )
    told = [{"along_m": [ALONG_M] * FRAMES} for _ in names]
    return Reconstruction(scene, replace(motion, provenance={"uncertainty": json.dumps(told)}), room, quality)


def world(degrees: float = 0.0, x: float = 0.0, z: float = 0.0, tilt: float = 0.0) -> torch.Tensor:
    """Return another world's place in the true one: turned about the vertical and about x, and moved."""
    placed = torch.eye(4)
    turns = (torch.tensor([math.radians(tilt), 0.0, 0.0]), torch.tensor([0.0, 0.0, math.radians(degrees)]))
    placed[:3, :3] = matrix_from_axis_angle(turns[1]) @ matrix_from_axis_angle(turns[0])
    placed[:3, 3] = torch.tensor([x, 0.0, z])
    return placed


def seen_from(truth: Truth, placed: torch.Tensor, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Errors:
    """Compute the errors of the true persons, moved by `shift` in a world of another place, before the same camera."""
    camera = replace(truth.camera, extrinsics=truth.camera.extrinsics @ torch.linalg.inv(placed))
    moved = torch.from_numpy(truth.motion.joints) @ placed[:3, :3].T + placed[:3, 3] + torch.tensor(shift)
    motion = replace(truth.motion, joints=moved.numpy())
    return compare(made_of(truth, motion, camera, truth.object_ids), truth, BODY)


def assert_errors(found: Errors, **expected: float) -> None:
    """Assert that the named errors have these values, and that all others are zero."""
    for name, value in vars(found).items():
        if name in OF_PERSONS_ALONE:
            continue
        assert value == pytest.approx(expected.get(name, 0.0), abs=0.02), name


def test_a_perfect_reconstruction_has_no_errors_whatever_its_origin_and_heading() -> None:
    truth = true_room("1", "2")
    assert_errors(seen_from(truth, world()))
    assert_errors(seen_from(truth, world(degrees=130.0, x=2.0)))


def test_people_that_are_moved_are_off_in_the_world_alone() -> None:
    truth = true_room("1", "2")
    assert_errors(seen_from(truth, world(degrees=40.0), shift=(0.0, 0.06, 0.08)), world_mpjpe_mm=100.0)


def test_a_floor_that_is_wrong_costs_the_floor_and_no_more_where_the_camera_sees_the_same() -> None:
    truth = true_room("1")
    assert_errors(seen_from(truth, world(z=0.05)), floor_height_mm=50.0)
    height = truth.camera.center[2].item() * (1 - math.cos(math.radians(3.0)))
    assert_errors(seen_from(truth, world(tilt=3.0)), floor_angle=3.0, floor_height_mm=1000 * height)


def test_people_are_compared_with_themselves_where_they_are_there() -> None:
    truth = true_room("1", "2", "3")
    last = replace(truth.motion, **{name: getattr(truth.motion, name)[2:].copy() for name in OF_PERSONS})
    last.joints[0, 5:] += 9  # not valid there
    last.valid[0, 5:] = False
    assert_errors(compare(made_of(truth, last, truth.camera, ("3",)), truth, BODY))
    last.valid[0, [0, 2, 3]] = False  # frames 1 and 4 have no acceleration
    assert compare(made_of(truth, last, truth.camera, ("3",)), truth, BODY).acceleration_error is None


def test_errors_along_the_ray_are_counted_against_the_standard_deviation_that_is_claimed() -> None:
    """The camera hangs 2.4 m over a person 4 m away, so a move ahead is along the ray by about 4 of 4.3 parts."""
    truth = true_room("1")
    for ahead, within in ((0.06, 1.0), (0.1, 1.0), (0.125, 0.0), (-0.125, 0.0)):
        assert seen_from(truth, world(), (0.0, ahead, 0.0)).within_sigma == within, ahead
    assert seen_from(truth, world(degrees=130.0, x=2.0)).within_sigma == 1
    assert seen_from(truth, world(), (0.3, 0.0, 0.0)).within_sigma == 1, "across the ray"
    half = replace(truth.motion, joints=truth.motion.joints.copy())
    half.joints[:, : FRAMES // 4] += np.float32([0, 0.3, 0])
    assert compare(made_of(truth, half, truth.camera, ("1",)), truth, BODY).within_sigma == 0.75


def test_each_person_is_off_by_the_mean_of_their_own_frames() -> None:
    truth = true_room("1", "2")
    some = replace(truth.motion, joints=truth.motion.joints.copy(), valid=truth.motion.valid.copy())
    some.joints[1] += np.float32([0, 0.3, 0.4])
    some.joints[1, :5] += 9
    some.valid[1, :5] = False
    made = made_of(truth, some, truth.camera, ("1", "2"))
    tall = replace(made.quality[1], along_m=0.21, stature_m=1.25 * made.quality[1].stature_m)
    errors = compare(replace(made, quality=(made.quality[0], tall)), truth, BODY)
    assert errors.away_m == pytest.approx((0.0, 0.5), abs=1e-6)
    assert errors.along_m == (ALONG_M, 0.21)
    true = float(BODY.stature(torch.from_numpy(truth.motion.betas[0])))
    assert errors.stature_error == pytest.approx((STATURE_M / true - 1, 1.25 * STATURE_M / true - 1))
