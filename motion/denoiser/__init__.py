"""Denoiser: the network that estimates the clean motion, its sizes and its conditions.

`python -m motion.denoiser --profile` prints what one step costs.
"""

from motion.denoiser.conditions import Conditions
from motion.denoiser.config import DenoiserConfig
from motion.denoiser.network import Denoiser

__all__ = ["Conditions", "Denoiser", "DenoiserConfig"]
