"""Terms that keep bodies out of each other and of the room: who is in one place, who walks through a box."""

import numpy as np
import pytest
import torch

from motion.body.penetration import person_penetration, scene_penetration
from motion.errors import InputError
from motion.guidance.terms import ApartFromPeople, BodyShape, OutOfScene, distance_fields
from motion.sequence import LABELS
from motion.smpl_parameters import SmplParameters
from tests.helpers.scenes import scene_of
from tests.helpers.walks import BODY, PENETRATES, always, capsules, motions, poses, sampled, someone, steered


def test_two_people_in_one_place_come_apart() -> None:
    def share(found: list[SmplParameters]) -> float:
        there = np.ones((2, found[0].transl.shape[1]), dtype=np.bool_)
        depths = np.stack([person_penetration(capsules(pose), there)[1] for pose in found])
        return float((depths > PENETRATES).mean())

    of, term = motions(0.1), ApartFromPeople(*always(2))
    unguided, guided = share(sampled(of, [], 2, persons=2)[0]), share(sampled(of, [term], 2, persons=2)[0])
    assert unguided > 0.8
    assert guided < 0.2 * unguided


def test_people_in_exactly_the_same_place_come_apart() -> None:
    x, body_shape, valid = someone(1)
    x, body_shape, valid = (x.repeat(1, 2, 1, 1), BodyShape.of(BODY, torch.zeros(1, 2, 10)), valid.repeat(1, 2, 1))
    for _ in range(3):
        x = steered(x, body_shape, valid, [ApartFromPeople(*always(1))])
    pose = poses(motions(0.3), x)[0]
    assert person_penetration(capsules(pose), valid[0].numpy())[1].max() < PENETRATES


def box() -> np.ndarray:
    """Sample points of the surface of a box of 60 cm that stands where persons walk."""
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (6000, 3))
    rows, face = np.arange(6000), np.abs(points).argmax(axis=1)
    points[rows, face] = 0.3 * np.sign(points[rows, face])
    return (points + np.array([0.1, 0.0, 0.3])).astype(np.float32)


def test_a_walk_through_a_box_goes_around_it() -> None:
    def share(found: list[SmplParameters]) -> float:
        there = np.ones((1, found[0].transl.shape[1]), dtype=np.bool_)
        depths = np.stack(
            [scene_penetration(capsules(pose), there, scene_of(box(), LABELS.index("bed")))[1] for pose in found]
        )
        return float((depths > PENETRATES).mean())

    of, term = motions(0.3), OutOfScene(*always(2), *distance_fields([box()] * 2))
    unguided, guided = share(sampled(of, [], 2)[0]), share(sampled(of, [term], 2)[0])
    assert unguided > 0.4
    assert guided < 0.2 * unguided


def test_distances_are_those_of_a_solid_below_what_is_seen() -> None:
    """A table top at 70 cm fills the space below it; what hangs higher than 1.2 m does not; no points, all free."""
    x, y = np.meshgrid(np.arange(-0.5, 0.5, 0.02), np.arange(-0.5, 0.5, 0.02))
    top = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.7)], axis=1).astype(np.float32)
    lamp = np.array([[1.0, 0, 1.8]], dtype=np.float32)
    distances, origin = distance_fields([np.concatenate([top, lamp]), np.zeros((0, 3), dtype=np.float32)])
    at = lambda *place: distances[0][tuple(((torch.tensor(place) - origin[0]) / 0.05).round().long().flip(0))]  # noqa: E731
    assert at(0.0, 0.0, 1.0) == pytest.approx(0.3, abs=0.06)
    assert at(0.0, 0.0, 0.5) == pytest.approx(-0.25, abs=0.06)
    assert at(0.8, 0.0, 0.1) == pytest.approx(0.3, abs=0.06)
    assert at(1.0, 0.0, 0.9) > 0.4
    assert (distances[1] > 0.5).all()


def test_a_room_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="crop"):
        distance_fields([np.array([[0, 0, 0], [1e4, 1e4, 0]], dtype=np.float32)])
