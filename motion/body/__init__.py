"""SMPL-family body: shape, joints and mesh from pose parameters; `python -m motion.body` makes the default."""

from motion.body.smpl_body import NUM_BETAS, WHERE_TO_GET, Body, load_body

__all__ = ["NUM_BETAS", "WHERE_TO_GET", "Body", "load_body"]
