"""Steps from an annotated room video to a metric scene with persons; `python -m recon.pipeline` runs them."""

from recon.pipeline.steps import Bodies, Mode, Reconstruction, load_bodies, reconstruct
from recon.scene import Room

__all__ = ["Bodies", "Mode", "Reconstruction", "Room", "load_bodies", "reconstruct"]
