"""Diversity: the peers' own numbers, and how its pairs are drawn."""

from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.evaluator import Protocol
from motion.evaluator.protocol import HUMANML3D, INTERHUMAN
from motion.metrics.diversity import diversity, draw_pairs

PEERS = [("intergen", INTERHUMAN), ("mdm", HUMANML3D)]


@pytest.mark.parametrize(("peer", "protocol"), PEERS)
def test_golden_diversity(inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str, protocol: Protocol) -> None:
    first, second = np.array(values["indices_drawn"]["diversity"])
    found = diversity(inputs["gen"] * protocol.embedding_scale, first, second) / protocol.diversity_divisor
    assert found == pytest.approx(values["results"][peer]["diversity(gen, 300), np.random.seed(123)"], rel=1e-6)


def test_pairs_for_diversity_are_drawn_without_replacement(rng: np.random.Generator) -> None:
    first, second = draw_pairs(11, 10, rng)
    assert len(set(first.tolist())) == len(set(second.tolist())) == 10
    assert not np.array_equal(first, second)
    with pytest.raises(InputError, match="found 10 motions.*diversity_pairs in the protocol"):
        draw_pairs(10, 10, rng)


def test_diversity_is_the_mean_distance_of_the_pairs() -> None:
    motions = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert diversity(motions, np.array([0, 0, 1]), np.array([1, 2, 1])) == pytest.approx((5 + 1 + 0) / 3)
