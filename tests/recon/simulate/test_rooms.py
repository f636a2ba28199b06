"""Rooms made of boxes: closed meshes, moves of the whole, and who is where they must not be."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.sequence import LABELS
from recon.simulate.materials import random_material
from recon.simulate.rooms import Part, Piece, Place, SimulatedRoom, box

WOOD = random_material(np.random.default_rng(0), "wood")
moves = st.tuples(st.floats(-3.2, 3.2), st.floats(-5, 5), st.floats(-5, 5))


def room(solid: bool = True) -> SimulatedRoom:
    """Build 4 m x 3 m of air with a bed of 1 m x 2 m x 0.5 m in its middle."""
    bed = Piece(
        (box("bed", WOOD, (1.5, 0.5, 0), (2.5, 2.5, 0.5), solid),),
        (Place("lying", np.array([2, 1.5, 0.5], dtype=np.float32), 0.3, 1),),
        (0.5, 1.0),
    )
    shell = Piece((box("floor", WOOD, (0, 0, -0.1), (4, 3, 0), solid=False),))
    lamp, window = np.array([2, 1, 2.3], dtype=np.float32), np.array([0, 1, 1.6], dtype=np.float32)
    return SimulatedRoom((shell, bed), lamp, window, box("none", WOOD, (0, 0, -0.05), (4, 3, 2.5)))


def test_a_box_is_closed_and_faces_outward() -> None:
    """Its volume by the divergence theorem is that of its sides, and positive."""
    part = box("table", WOOD, (1, 2, 0), (2.5, 2.4, 0.7))
    corners = part.placed()[part.faces]
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume == pytest.approx(1.5 * 0.4 * 0.7, rel=1e-5)
    np.testing.assert_allclose(part.placed().min(axis=0), [1, 2, 0], atol=1e-6)
    assert (LABELS[part.label], part.half.tolist()) == ("table", pytest.approx([0.75, 0.2, 0.35]))


def test_parts_turn_about_the_worlds_axis_and_then_shift() -> None:
    part = box("chair", WOOD, (1, -0.5, 0), (3, 0.5, 1)).moved(math.pi / 2, np.array([0, 0, 2.0]))
    np.testing.assert_allclose(part.center, [0, 2, 2.5], atol=1e-6)
    np.testing.assert_allclose(part.placed().max(axis=0), [0.5, 3, 3], atol=1e-6)
    np.testing.assert_allclose(part.local(part.placed()), part.vertices, atol=1e-6)
    place = Place("chair", np.array([1, 0, 0.5], dtype=np.float32), 0.25, 0).moved(math.pi / 2, np.array([0, 0, 2.0]))
    np.testing.assert_allclose(place.position, [0, 1, 2.5], atol=1e-6)
    assert place.yaw == pytest.approx(math.pi / 2 + 0.25)


def test_a_part_holds_what_is_deeper_than_the_tolerance() -> None:
    part = box("bed", WOOD, (0, 0, 0), (2, 1, 1)).moved(math.pi / 2, np.zeros(3))  # now from x = -1 to 0, y = 0 to 2
    depth = np.array([[-0.5, 1, 0.5], [-0.04, 1, 0.5], [-0.06, 1, 0.5], [0.5, 1, 0.5]])
    assert part.holds(depth, 0.05).tolist() == [True, False, True, False]


def test_nobody_may_be_beyond_walls_or_in_furniture_they_do_not_rest_on() -> None:
    points = np.array([[0.5, 0.5, 1], [2, 1.5, 0.4], [2, 1.5, 0.48], [3.99, 1, 1], [-1, 1, 1], [1, 1, -0.2]])
    assert room().intruding(points, None).tolist() == [False, True, False, True, True, True]
    assert room().intruding(points, 1).tolist() == [False, False, False, True, True, True]
    assert room().intruding(points, None, tolerance=0.0)[2]
    assert room(solid=False).intruding(points, None).tolist() == [False, False, False, True, True, True]


@settings(max_examples=25)
@given(move=moves, seed=st.integers(0, 99))
def test_a_moved_room_is_the_same_room(move: tuple[float, float, float], seed: int) -> None:
    yaw, offset = move[0], np.array([move[1], move[2], 0])
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    here, there = room(), room().moved(yaw, offset)
    points = np.random.default_rng(seed).uniform([-1, -1, -0.5], [5, 4, 3], (200, 3))
    clear = ~(here.intruding(points, None, 0.029) ^ here.intruding(points, None, 0.031))  # not at an edge
    np.testing.assert_array_equal(
        there.intruding(points @ turn.T + offset, None)[clear], here.intruding(points, None)[clear]
    )
    for one, other in ((here.lamp, there.lamp), (here.window, there.window)):
        np.testing.assert_allclose(other, turn @ one + offset, atol=1e-5)
    for one, other in zip(here.parts, there.parts, strict=True):
        np.testing.assert_allclose(other.placed(), one.placed() @ turn.T + offset, atol=1e-5)
    (place,) = there.places
    np.testing.assert_allclose(place.position, turn @ here.places[0].position + offset, atol=1e-5)
    assert place.yaw == pytest.approx(0.3 + yaw)


def test_pieces_name_the_owner_of_their_places_by_their_number() -> None:
    piece = Piece(room().pieces[1].parts, (room().places[0], replace(room().places[0], kind="bed_edge")))
    assert [place.owner for place in piece.owned(5).places] == [5, 5]
    assert isinstance(piece.owned(5).parts[0], Part)
