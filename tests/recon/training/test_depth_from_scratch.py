"""Training of small vision transformers from scratch: start values of positions, and the learning rate's course."""

import math

import pytest
import torch

from recon.training.depth_from_scratch import schedule, waves


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    """The frequencies are 1/32 to 1/2 turns for two patches; the last has an opposite sign every other patch."""
    positions = waves(3, 4, 16)
    assert positions.shape == (12, 16)
    row, column = 2, 1
    frequencies = [math.pi * 2**power for power in (-5, -3.6666667, -2.3333333, -1)]
    angles = [frequency * at for at in (row, column) for frequency in frequencies]
    wanted = [0.5 * math.sin(a) for a in angles] + [0.5 * math.cos(a) for a in angles]
    torch.testing.assert_close(positions[4 * row + column], torch.tensor(wanted), atol=1e-5, rtol=0)
    assert (torch.pdist(positions) > 0.1).all(), "every patch has a position of its own"


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = [schedule(progress, 0.1) for progress in (0.0, 0.05, 0.5, 1.0)]
    assert rates == pytest.approx([1e-3, 0.5 * (1 + math.cos(0.05 * math.pi)) / 2 + 1e-3, 0.5 + 1e-3, 1e-3])
