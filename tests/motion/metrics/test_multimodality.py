"""MultiModality: the peers' own numbers, and how its pairs are drawn."""

from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.metrics.multimodality import draw_unlike_pairs, multimodality


@pytest.mark.parametrize("peer", ["intergen", "mdm"])
def test_golden_multimodality(inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str) -> None:
    first, second = np.array(values["indices_drawn"]["multimodality"])
    spread = values["results"][peer]["multimodality(mm, 10), np.random.seed(321)"]
    assert multimodality(inputs["mm"], first, second) == pytest.approx(spread, rel=1e-6)


def test_samples_of_one_sentence_are_compared_with_each_other_alone() -> None:
    """Two sentences far apart, whose samples are 1 and 3 apart."""
    motions = np.array([[[0.0], [1.0]], [[100.0], [103.0]]])
    assert multimodality(motions, np.array([0]), np.array([1])) == pytest.approx(2)
    assert multimodality(motions, np.array([0, 0]), np.array([1, 0])) == pytest.approx(1)


def test_pairs_for_multimodality_are_of_different_samples(rng: np.random.Generator) -> None:
    first, second = draw_unlike_pairs(3, 3000, rng)
    assert (first != second).all()
    np.testing.assert_allclose(np.bincount(first * 3 + second)[[1, 2, 3, 5, 6, 7]] / 3000, 1 / 6, atol=0.03)
    with pytest.raises(InputError, match="found 1 samples"):
        draw_unlike_pairs(1, 10, rng)
