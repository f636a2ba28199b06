"""Weights that let outliers count for nothing in a fit."""

import numpy as np
from jaxtyping import Float64

TUKEY_SIGMAS = 4.685  # 95 % efficiency under normal noise
MAD_TO_SIGMA = 1.4826  # of a normal distribution's median absolute deviation


def tukey_weights(residuals: Float64[np.ndarray, "*batch"], scale: float) -> Float64[np.ndarray, "*batch"]:
    """Weigh residuals (absolute values) by Tukey's biweight: 1 at none, 0 from `TUKEY_SIGMAS` times `scale` on."""
    return np.square(1 - np.square(np.minimum(residuals / (TUKEY_SIGMAS * scale), 1)))
