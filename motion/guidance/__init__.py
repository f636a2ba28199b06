"""Guides that steer the sampler toward its conditions; energies on joints are in `motion.guidance.terms`."""

from motion.guidance.classifier import ClassifierGuidance, log_gradient
from motion.guidance.classifier_free import ClassifierFree, Guide, Separated, Unguided

__all__ = ["ClassifierFree", "ClassifierGuidance", "Guide", "Separated", "Unguided", "log_gradient"]
