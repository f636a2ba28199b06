"""Checks of embeddings: what metrics take, and in one sentence what they refuse."""

import numpy as np
import pytest

from motion.errors import InputError
from motion.metrics.embeddings import as_pairs, finite


def test_embeddings_become_double_precision() -> None:
    """Squares of numbers near 1e6 differ by less than float32 holds."""
    close = np.array([[1e6], [1e6 + 0.125]], dtype=np.float32)
    squares = finite(close, "motion") ** 2
    assert squares.dtype == np.float64
    assert squares[1, 0] - squares[0, 0] == 2 * 1e6 * 0.125 + 0.125**2


@pytest.mark.parametrize(
    ("embeddings", "sentence"),
    [
        (np.zeros((0, 3)), r"the motion embeddings are empty \(shape \(0, 3\)\), expected at least one row"),
        (np.array([[0.0, np.inf]]), "the motion embeddings hold NaN or infinity, expected finite numbers"),
        (np.array([[0.0], [np.nan]]), "the motion embeddings hold NaN or infinity"),
    ],
)
def test_what_is_no_embedding_is_refused(embeddings: np.ndarray, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        finite(embeddings, "motion")


def test_pairs_are_as_many_and_as_wide() -> None:
    texts, motions = np.zeros((2, 3), dtype=np.float32), np.ones((2, 3), dtype=np.float32)
    assert [each.mean() for each in as_pairs(texts, motions)] == [0, 1], "texts come first"
    for other in (motions[:1], motions[:, :2]):
        with pytest.raises(InputError, match="expected a motion for each text"):
            as_pairs(texts, other)
    with pytest.raises(InputError, match="the text embeddings hold NaN"):
        as_pairs(texts * np.nan, motions)
    with pytest.raises(InputError, match="the motion embeddings hold NaN"):
        as_pairs(texts, motions * np.nan)
