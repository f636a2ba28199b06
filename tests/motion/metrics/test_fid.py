"""Fréchet distance: the peers' own numbers, known Gaussians, what it must not depend on, what it refuses."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from motion.evaluator import Protocol
from motion.evaluator.protocol import HUMANML3D, INTERHUMAN
from motion.metrics.fid import fid

PEERS = [("intergen", INTERHUMAN), ("mdm", HUMANML3D)]


@pytest.mark.parametrize(("peer", "protocol"), PEERS)
def test_golden_fid(inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str, protocol: Protocol) -> None:
    scaled = {name: array * protocol.embedding_scale for name, array in inputs.items()}
    expected = values["results"][peer]
    assert fid(scaled["gt"], scaled["gen"]) == pytest.approx(expected["FID(gt, gen)"], rel=1e-6)
    assert fid(scaled["gt"], scaled["few"]) == pytest.approx(expected["FID(gt, few) rank-deficient"], rel=1e-6)
    assert fid(scaled["gt"], scaled["gt"]) < 1e-6


def test_fid_of_known_gaussians(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(50, 3))
    rows = (rows - rows.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T  # covariance exactly 1
    stretched = rows * np.array([1, 2, 3]) + np.array([0, 0, 5])
    assert fid(rows, stretched) == pytest.approx(25 + 0 + 1 + 4)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 40), dim=st.integers(1, 12))
def test_fid_sees_neither_turn_nor_shift(seed: int, rows: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(30, dim)), rng.normal(1, 2, size=(rows, dim))
    turn, shift = np.linalg.qr(rng.normal(size=(dim, dim))).Q, rng.normal(size=dim)
    expected = fid(real, generated)
    assert fid(real @ turn + shift, generated @ turn + shift) == pytest.approx(expected, rel=1e-6)
    assert fid(generated, real) == pytest.approx(expected, rel=1e-6)
    assert fid(real, real) < 1e-6


def test_fid_of_halves_shrinks_with_the_size(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(16_000, 8))
    of_halves = [fid(rows[: size // 2], rows[size // 2 : size]) for size in (160, 1600, 16_000)]
    assert of_halves[0] > 3 * of_halves[1] > 9 * of_halves[2] > 0
    assert of_halves[2] < 0.01


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.ones((1, 3)), np.ones((4, 3)), "1 real embeddings, expected at least 2"),
        (np.ones((4, 3)), np.ones((4, 2)), "3 and 2 wide"),
        (np.ones((4, 3)), np.full((4, 3), np.nan), "the generated embeddings hold NaN"),
        (np.ones((4, 0)), np.ones((4, 0)), "the real embeddings are empty"),
    ],
)
def test_fid_refuses(real: np.ndarray, generated: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fid(real, generated)
