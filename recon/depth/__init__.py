"""Depth networks, and the fusion of their relative with their metric depth."""

from recon.depth.fusion import DepthFusion, fuse
from recon.depth.networks import DepthModel, DepthNetwork, load_depth_model

__all__ = ["DepthFusion", "DepthModel", "DepthNetwork", "fuse", "load_depth_model"]
