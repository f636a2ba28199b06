"""Fit of SMPL bodies to 2D keypoints over time."""

from recon.fitting.optimisation import Fit, fit, fit_together

__all__ = ["Fit", "fit", "fit_together"]
