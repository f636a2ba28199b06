"""Rendered care rooms with known ground truth; `python -m recon.simulate` writes them as Teton trees."""

from recon.simulate.annotate import CLEAN, NOISY, AnnotationNoise, annotate
from recon.simulate.records import SimulateConfig, Simulated
from recon.simulate.sequences import simulate
from recon.simulate.storage import Truth, read_truth, write

__all__ = [
    "CLEAN",
    "NOISY",
    "AnnotationNoise",
    "SimulateConfig",
    "Simulated",
    "Truth",
    "annotate",
    "read_truth",
    "simulate",
    "write",
]
