"""Guidance terms: energies on bodies that correct the sampler's estimate of x_0; metres, Z up.

Terms say what is wanted (`Keypoints2D`, `Trajectory`, `FloorContact`, `ApartFromPeople`, `OutOfScene`), how much
(`weight`) and when (`start` to `stop`); `steer` moves the estimate between the network and the solver's step. The
network is not differentiated: guidance of this kind adds no forward pass.
"""

from motion.guidance.terms.contact import ApartFromPeople, OutOfScene, distance_fields
from motion.guidance.terms.figure import BodyShape, Figure
from motion.guidance.terms.steering import in_doubles, steer
from motion.guidance.terms.term import FloorContact, Keypoints2D, Term, Trajectory

__all__ = [
    "ApartFromPeople",
    "BodyShape",
    "Figure",
    "FloorContact",
    "Keypoints2D",
    "OutOfScene",
    "Term",
    "Trajectory",
    "distance_fields",
    "in_doubles",
    "steer",
]
