"""Furniture of boxes: it stands on the floor within its footprint, and its places are where one can rest."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from motion.sequence import LABELS
from recon.simulate.furniture import bed, blanket, chair, sofa, table, wardrobe
from recon.simulate.rooms import Piece, Place

MAKERS = [bed, chair, sofa, wardrobe, table]
SEEDS = range(5)


@pytest.mark.parametrize("make", MAKERS)
def test_a_piece_stands_on_the_floor_within_its_footprint(make: Callable[[np.random.Generator], Piece]) -> None:
    for seed in SEEDS:
        piece = make(np.random.default_rng(seed))
        vertices = np.concatenate([part.placed() for part in piece.parts])
        assert 0 <= vertices[:, 2].min() < 0.07
        assert (np.abs(vertices[:, :2]) <= np.array(piece.half) + 0.02).all()
        assert {LABELS[part.label] for part in piece.parts} == {make.__name__}


@pytest.mark.parametrize(
    ("make", "kinds", "heights"),
    [
        (bed, {"lying", "bed_edge"}, (0.45, 0.6)),
        (chair, {"chair"}, (0.43, 0.48)),
        (sofa, {"sofa"}, (0.4, 0.46)),
        (wardrobe, set(), (0, 0)),
        (table, set(), (0, 0)),
    ],
)
def test_places_are_on_the_seat_and_free_above_and_before(
    make: Callable[[np.random.Generator], Piece], kinds: set[str], heights: tuple[float, float]
) -> None:
    """A place lies on something solid; the way one faces leads out of the piece unless one lies."""
    for seed in SEEDS:
        piece = make(np.random.default_rng(seed))
        assert {place.kind for place in piece.places} == kinds
        solid = [part for part in piece.parts if part.solid]
        for place in piece.places:
            assert heights[0] <= place.position[2] <= heights[1]
            just = np.array([0, 0, 0.005])
            assert any(part.holds(place.position[None] - just, 0.0).all() for part in solid)
            above = place.position + np.linspace(0.01, 0.6, 30)[:, None] * [0, 0, 1]
            assert not any(part.holds(above, 0.0).any() for part in solid)
            facing = np.array([-np.sin(place.yaw), np.cos(place.yaw), 0])
            before = place.position + np.linspace(0, 1.0, 50)[:, None] * facing + just
            if place.kind != "lying":
                assert not any(part.holds(before, 0.0).any() for part in solid)
                assert (np.abs(before[-1, :2]) > np.array(piece.half)).any()


def test_a_sofa_has_a_cushion_for_each_seat() -> None:
    seats = {len(sofa(np.random.default_rng(seed)).places) for seed in range(12)}
    assert seats == {1, 2, 3}
    for seed in range(4):
        middles = [place.position[0] for place in sofa(np.random.default_rng(seed)).places]
        assert sum(middles) == pytest.approx(0, abs=1e-6)
        assert all(b - a == pytest.approx(0.66) for a, b in pairwise(middles))


def test_a_blanket_lies_over_the_sleeper_from_the_hips_to_the_feet(rng: np.random.Generator) -> None:
    """A belly 25 cm high under the cloth, known every 10 cm, and a head beyond its hem, in a bed that stands turned."""
    piece = bed(rng)
    place = Place("lying", np.array([3.0, -2.0, 0.55], dtype=np.float32), 0.7, 1)
    turn = np.array([[np.cos(0.7), -np.sin(0.7), 0], [np.sin(0.7), np.cos(0.7), 0], [0, 0, 1]])
    x, y, z = np.meshgrid(np.linspace(-0.15, 0.15, 4), np.linspace(0.2, 0.5, 4), np.linspace(0, 0.25, 4))
    belly = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    head = np.array([[0, -0.8, 0.3]])
    skin = np.concatenate([belly, head]) @ turn.T + place.position
    cloth = blanket(rng, piece, place, skin.astype(np.float32), top=-0.2)
    own = cloth.local(cloth.placed())
    assert own[:, 1].min() == pytest.approx(-0.2, abs=0.001), "it begins below the head"
    assert own[:, 1].max() <= piece.half[1]
    middle = own[(np.abs(own[:, 0]) < 0.1) & (np.abs(own[:, 1] - 0.35) < 0.1)]
    assert (middle[:, 2] > 0.25).all(), "no skin shows through"
    assert middle[:, 2].max() < 0.3
    feet = own[(own[:, 1] > 0.8) & (np.abs(own[:, 0]) < 0.25)]
    assert ((feet[:, 2] > 0) & (feet[:, 2] < 0.05)).all(), "it lies on the mattress elsewhere"
    edges = own[np.abs(own[:, 0]) >= np.abs(own[:, 0]).max() - 0.02]
    assert (edges[:, 2] < 0).all(), "and hangs over both edges"
    assert not cloth.solid
