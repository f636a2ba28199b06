"""Capsules compared with the mesh they stand for, and their overlaps with a grid and brute force."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.body.capsules import Capsules, fit_capsules, rest_skin
from motion.body.penetration import FLOOR_LABEL, TOUCH_M, person_penetration, scene_penetration
from motion.clips.ground import lowest_skin
from motion.datasets import deepmimic
from motion.sequence import Scene
from tests.helpers.clips import UPRIGHT
from tests.helpers.scenes import scene_of

BODY = load_body()
MEAN_SHAPE = np.zeros((1, 10), dtype=np.float32)
WALL = 3


def _standing(*places: tuple[float, float, float]) -> Capsules:
    """Pose persons in T-pose, facing +x, on the floor at these places."""
    rest = BODY.joint_template.numpy() @ UPRIGHT.numpy().T - [0, 0, BODY.v_template[:, 1].min().item()]
    joints = np.stack([rest + place for place in places])[:, None]
    return fit_capsules(joints, MEAN_SHAPE.repeat(len(places), axis=0), BODY)


def _seen(bodies: Capsules) -> np.ndarray:
    return np.ones(bodies.starts.shape[:2], dtype=np.bool_)


def _inside(points: np.ndarray, bodies: Capsules, person: int) -> np.ndarray:
    """Tell whether points lie in a person of the first frame, by plain arithmetic."""
    found = np.zeros(len(points), dtype=np.bool_)
    for start, end, radius in zip(bodies.starts[person, 0], bodies.ends[person, 0], bodies.radii[person], strict=True):
        along = np.clip((points - start) @ (end - start) / max((end - start) @ (end - start), 1e-12), 0, 1)
        found |= np.linalg.norm(points - start - along[:, None] * (end - start), axis=1) < radius
    return found


def _grid(bodies: Capsules, step: float = 0.025) -> tuple[np.ndarray, float]:
    """Make points of a grid around person 0; also return the litres of each."""
    axes = [
        np.arange(low - 0.25, high + 0.25, step)
        for low, high in zip(bodies.starts[0, 0].min(axis=0), bodies.starts[0, 0].max(axis=0), strict=True)
    ]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3), 1000 * step**3


def _wall(x: float, step: float = 0.02) -> Scene:
    y, z = np.meshgrid(np.arange(-1.5, 1.5, step), np.arange(0, 2, step))
    return scene_of(np.stack([np.full(y.size, x), y.ravel(), z.ravel()], axis=1), WALL)


def test_capsules_hold_three_quarters_of_the_mesh() -> None:
    bodies = _standing((0, 0, 0))
    mesh = BODY.v_template.numpy()[BODY.faces]
    volume = 1000 * np.einsum("fi,fi->", mesh[:, 0], np.cross(mesh[:, 1], mesh[:, 2])) / 6
    assert 0.75 * volume < bodies.shares.sum() < volume
    points, litres = _grid(bodies)
    assert bodies.shares.sum() == pytest.approx(litres * _inside(points, bodies, 0).sum(), rel=0.02)


def test_capsules_reach_as_low_as_the_skin() -> None:
    """Walking, kicking, getting up from the back agree within 1 cm in the median; standing on the heels is lowest."""
    for clip in deepmimic.list_clips():
        if clip.id.endswith(("walk", "kick", "getup_faceup")):
            sequence = deepmimic.read_clip(clip, BODY)
            error = fit_capsules(sequence.joints, sequence.betas, BODY).lowest() - lowest_skin(sequence, BODY)
            assert np.median(np.abs(error)) < 0.01
            assert np.percentile(np.abs(error), 90) < 0.04


def test_capsules_follow_the_shape() -> None:
    """Persons with more skin have more capsule."""
    volumes, meshes = [], []
    for size in (-2.0, 0.0, 2.0):
        betas = np.array([[0, size, 0, 0, 0, 0, 0, 0, 0, 0]], dtype=np.float32)
        joints = BODY.rest_joints(torch.from_numpy(betas)).numpy()[:, None]
        volumes.append(fit_capsules(joints, betas, BODY).shares.sum())
        mesh = rest_skin(BODY, betas[0])[BODY.faces]
        meshes.append(1000 * np.einsum("fi,fi->", mesh[:, 0], np.cross(mesh[:, 1], mesh[:, 2])) / 6)
    assert np.array(volumes) / meshes == pytest.approx(0.75, abs=0.1)
    assert np.array_equal(np.argsort(volumes), np.argsort(meshes))


def test_people_a_metre_apart_do_not_meet_and_merged_ones_share_all() -> None:
    apart, merged = _standing((0, 0, 0), (1, 0, 0)), _standing((0, 0, 0), (0, 0, 0))
    volume, depth = person_penetration(apart, _seen(apart))
    assert (volume[0], depth[0]) == (0, 0)
    volume, depth = person_penetration(merged, _seen(merged))
    assert volume[0] == pytest.approx(merged.shares[0].sum())
    assert depth[0] == pytest.approx(2 * merged.radii.max(), rel=0.02)


@pytest.mark.parametrize("place", [(0.1, 0.05, 0), (0.15, 0, 0), (0.1, 0.3, 0.2)])
def test_shared_volume_is_the_one_of_a_grid(place: tuple[float, float, float]) -> None:
    bodies = _standing((0, 0, 0), place)
    points, litres = _grid(bodies)
    expected = litres * (_inside(points, bodies, 0) & _inside(points, bodies, 1)).sum()
    assert person_penetration(bodies, _seen(bodies))[0][0] == pytest.approx(expected, rel=0.02, abs=0.4)


def test_volume_does_not_depend_on_who_is_first_and_adds_up_over_pairs() -> None:
    one, two, three = (0.0, 0, 0), (0.12, 0.05, 0), (0.5, 0, 0)
    volume = {
        pair: person_penetration(_standing(*pair), np.ones((len(pair), 1), dtype=np.bool_))[0][0]
        for pair in ((one, two), (two, one), (one, three), (two, three), (one, two, three))
    }
    assert volume[one, two] == pytest.approx(volume[two, one])
    assert volume[one, two, three] == pytest.approx(volume[one, two] + volume[one, three] + volume[two, three])


def test_people_who_are_not_there_do_not_count() -> None:
    bodies = _standing((0, 0, 0), (0, 0, 0))
    for valid in ([[True], [False]], [[False], [False]]):
        assert person_penetration(bodies, np.array(valid))[0][0] == 0
        assert scene_penetration(bodies, np.array(valid), _wall(0))[0][1, 0] == 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3]))
def test_depth_is_what_remains_of_the_radii(seed: int, length: float) -> None:
    """Brute force finds the closest points of all axes; axes of no length (balls) and parallel ones are included."""
    rng = np.random.default_rng(seed)
    starts = rng.uniform(-0.4, 0.4, (2, 1, 24, 3))
    ends = starts + length * rng.choice([rng.normal(size=3), np.eye(3)[2]], (2, 1, 24))
    bodies = Capsules(starts, ends, rng.uniform(0.01, 0.05, (2, 24)), np.zeros((2, 24, 64)))
    steps = np.linspace(0, 1, 120)[:, None, None]
    one, two = (starts[person, 0] + steps * (ends - starts)[person, 0] for person in (0, 1))
    gaps = np.linalg.norm(one[:, None, :, None] - two[None, :, None], axis=-1).min(axis=(0, 1))
    expected = (bodies.radii[0][:, None] + bodies.radii[1] - gaps).max()
    assert person_penetration(bodies, _seen(bodies))[1][0] == pytest.approx(max(expected, 0), abs=0.01)


def test_a_wall_in_the_back_takes_the_volume_behind_it() -> None:
    """The wall is 3 cm deep, in whatever density it was scanned."""
    bodies = _standing((0, 0, 0))
    back = (np.minimum(bodies.starts, bodies.ends)[..., 0] - bodies.radii[:, None]).min()
    points, litres = _grid(bodies, 0.015)
    expected = litres * (_inside(points, bodies, 0) & (points[:, 0] < back + 0.03)).sum()
    for step in (0.01, 0.02):
        volume, depth = scene_penetration(bodies, _seen(bodies), _wall(back + 0.03, step))
        assert volume[0, 0] == pytest.approx(expected, rel=0.35)
        assert depth[0, 0] == pytest.approx(0.03, abs=0.003)


def test_a_scene_is_touched_near_by_and_its_floor_does_not_count() -> None:
    bodies = _standing((0, 0, 0))
    back = (np.minimum(bodies.starts, bodies.ends)[..., 0] - bodies.radii[:, None]).min()
    volume, depth = scene_penetration(bodies, _seen(bodies), _wall(back - 0.02))
    assert volume[0, 0] == 0
    assert depth[0, 0] == pytest.approx(-0.02, abs=0.002)
    floor = scene_of(_wall(0).points, FLOOR_LABEL)
    for nothing in (_wall(back - TOUCH_M - 0.01), floor, replace(floor, points=floor.points + 9), _wall(3, step=5)):
        volume, depth = scene_penetration(bodies, _seen(bodies), nothing)
        assert (volume[0, 0], depth[0, 0]) == (0, -np.inf)
