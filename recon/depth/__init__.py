"""Depth networks, and the fusion of their relative with their metric depth."""

from recon.depth.fusion import DepthFusion, fuse
from recon.depth.networks import DepthModel, load_depth_model

__all__ = ["DepthFusion", "DepthModel", "fuse", "load_depth_model"]
