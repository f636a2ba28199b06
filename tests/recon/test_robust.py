"""Weights that let outliers count for nothing: Tukey's biweight at known residuals."""

import numpy as np
import pytest
from scipy.stats import norm

from recon.robust import MAD_TO_SIGMA, TUKEY_SIGMAS, tukey_weights


def test_weights_fall_from_one_to_zero_at_the_cutoff() -> None:
    """(1 - (r / c)²)² for c = 4.685 standard deviations."""
    weights = tukey_weights(np.array([0.0, 2.3425, 4.685, 9.0]) * 0.02, 0.02)
    np.testing.assert_allclose(weights, [1, 0.5625, 0, 0], atol=1e-12)


def test_the_constants_are_those_of_the_normal_distribution() -> None:
    """The cutoff is as efficient as a mean at 95 %: E[psi']² / E[psi²]; the MAD is the quartile."""
    assert pytest.approx(1 / norm.ppf(0.75), abs=1e-4) == MAD_TO_SIGMA
    x = np.linspace(-TUKEY_SIGMAS, TUKEY_SIGMAS, 20_001)
    share, density = (x / TUKEY_SIGMAS) ** 2, norm.pdf(x)
    psi, slope = x * (1 - share) ** 2, (1 - share) * (1 - 5 * share)
    efficiency = np.trapezoid(slope * density, x) ** 2 / np.trapezoid(psi**2 * density, x)
    assert efficiency == pytest.approx(0.95, abs=1e-3)
