"""Fit of SMPL bodies to 2D keypoints over time."""

from recon.fitting.optimisation import Fit, fit

__all__ = ["Fit", "fit"]
