"""Fit of SMPL bodies to 2D keypoints over time."""

from recon.fitting.optimisation import fit

__all__ = ["fit"]
