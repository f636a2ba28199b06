"""Overlaps of capsules with each other and with a scene, compared with a grid and brute force."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body.capsules import Capsules
from motion.body.penetration import FLOOR_LABEL, TOUCH_M, person_penetration, scene_penetration
from motion.sequence import Scene
from tests.helpers.capsules import grid, inside, seen, standing
from tests.helpers.scenes import scene_of

WALL = 3


def _wall(x: float, step: float = 0.02) -> Scene:
    y, z = np.meshgrid(np.arange(-1.5, 1.5, step), np.arange(0, 2, step))
    return scene_of(np.stack([np.full(y.size, x), y.ravel(), z.ravel()], axis=1), WALL)


def test_people_a_metre_apart_do_not_meet_and_merged_ones_share_all() -> None:
    apart, merged = standing((0, 0, 0), (1, 0, 0)), standing((0, 0, 0), (0, 0, 0))
    volume, depth = person_penetration(apart, seen(apart))
    assert (volume[0], depth[0]) == (0, 0)
    volume, depth = person_penetration(merged, seen(merged))
    assert volume[0] == pytest.approx(merged.shares[0].sum())
    assert depth[0] == pytest.approx(2 * merged.radii.max(), rel=0.02)


@pytest.mark.parametrize("place", [(0.1, 0.05, 0), (0.15, 0, 0), (0.1, 0.3, 0.2)])
def test_shared_volume_is_the_one_of_a_grid(place: tuple[float, float, float]) -> None:
    bodies = standing((0, 0, 0), place)
    points, litres = grid(bodies)
    expected = litres * (inside(points, bodies, 0) & inside(points, bodies, 1)).sum()
    assert person_penetration(bodies, seen(bodies))[0][0] == pytest.approx(expected, rel=0.02, abs=0.4)


def test_volume_does_not_depend_on_who_is_first_and_adds_up_over_pairs() -> None:
    one, two, three = (0.0, 0, 0), (0.12, 0.05, 0), (0.5, 0, 0)
    volume = {
        pair: person_penetration(standing(*pair), np.ones((len(pair), 1), dtype=np.bool_))[0][0]
        for pair in ((one, two), (two, one), (one, three), (two, three), (one, two, three))
    }
    assert volume[one, two] == pytest.approx(volume[two, one])
    assert volume[one, two, three] == pytest.approx(volume[one, two] + volume[one, three] + volume[two, three])


def test_people_who_are_not_there_do_not_count() -> None:
    bodies = standing((0, 0, 0), (0, 0, 0))
    for valid in ([[True], [False]], [[False], [False]]):
        assert person_penetration(bodies, np.array(valid))[0][0] == 0
        assert scene_penetration(bodies, np.array(valid), _wall(0))[0][1, 0] == 0


@settings(max_examples=10)
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
    assert person_penetration(bodies, seen(bodies))[1][0] == pytest.approx(max(expected, 0), abs=0.01)


def test_a_wall_in_the_back_takes_the_volume_behind_it() -> None:
    """The wall is 3 cm deep, in whatever density it was scanned."""
    bodies = standing((0, 0, 0))
    back = (np.minimum(bodies.starts, bodies.ends)[..., 0] - bodies.radii[:, None]).min()
    points, litres = grid(bodies, 0.015)
    expected = litres * (inside(points, bodies, 0) & (points[:, 0] < back + 0.03)).sum()
    for step in (0.01, 0.02):
        volume, depth = scene_penetration(bodies, seen(bodies), _wall(back + 0.03, step))
        assert volume[0, 0] == pytest.approx(expected, rel=0.35)
        assert depth[0, 0] == pytest.approx(0.03, abs=0.003)


def test_a_scene_is_touched_near_by_and_its_floor_does_not_count() -> None:
    bodies = standing((0, 0, 0))
    back = (np.minimum(bodies.starts, bodies.ends)[..., 0] - bodies.radii[:, None]).min()
    volume, depth = scene_penetration(bodies, seen(bodies), _wall(back - 0.02))
    assert volume[0, 0] == 0
    assert depth[0, 0] == pytest.approx(-0.02, abs=0.002)
    floor = scene_of(_wall(0).points, FLOOR_LABEL)
    for nothing in (_wall(back - TOUCH_M - 0.01), floor, replace(floor, points=floor.points + 9), _wall(3, step=5)):
        volume, depth = scene_penetration(bodies, seen(bodies), nothing)
        assert (volume[0, 0], depth[0, 0]) == (0, -np.inf)
