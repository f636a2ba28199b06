"""Bulk reconstruction of annotated room videos; `python -m ray_jobs.reconstruct` runs it."""

from ray_jobs.reconstruct.config import ReconstructConfig
from ray_jobs.reconstruct.job import fit_actors, reconstruct
from ray_jobs.reconstruct.stages import KINDS, BodyActor, DepthActor, FitActor, Row, decode, make_bodies, sheet_uri

__all__ = [
    "KINDS",
    "BodyActor",
    "DepthActor",
    "FitActor",
    "ReconstructConfig",
    "Row",
    "decode",
    "fit_actors",
    "make_bodies",
    "reconstruct",
    "sheet_uri",
]
