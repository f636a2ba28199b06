"""Protocols of the field's metrics: the numbers they depend on besides the embeddings.

HumanML3D's protocol is Guo et al. 2022's as MDM runs it (data_loaders/humanml/utils/metrics.py), InterHuman's is
InterGen's (utils/metrics.py: emb_scale = 6 in FID and Diversity, half the difference in Diversity). Numbers of
different protocols cannot be compared: InterGen's FID is 36 times what MDM's code gives for the same embeddings.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from motion.errors import InputError
from motion.sequence import MotionSequence


@dataclass(frozen=True)
class Protocol:
    """Settings of the metrics of embeddings; raises InputError unless all numbers are positive."""

    name: str
    """Name of the protocol in reports."""
    pool_size: int
    """Motions in a pool of R-precision."""
    embedding_scale: float
    """Factor on the embeddings in FID and Diversity."""
    diversity_divisor: float
    """Divisor of the distances in Diversity."""
    diversity_pairs: int = 300
    """Pairs of motions that Diversity draws."""
    multimodality_pairs: int = 10
    """Pairs of motions per caption that MultiModality draws."""
    repeats: int = 20
    """Repeats with fresh draws."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "name" and not 0 < value < math.inf:
                raise InputError(f"protocol {self.name}: {name} is {value}, expected a positive number")


HUMANML3D = Protocol("humanml3d", pool_size=32, embedding_scale=1.0, diversity_divisor=1.0)
"""Protocol of HumanML3D as MDM runs it."""
INTERHUMAN = Protocol("interhuman", pool_size=96, embedding_scale=6.0, diversity_divisor=2.0)
"""Protocol of InterHuman."""
CARESCENE = Protocol("carescene", pool_size=32, embedding_scale=1.0, diversity_divisor=1.0)
"""Protocol of our own evaluator."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Compute the mean over repeats and the half-width of its 95 % interval, 1.96 std / sqrt(n).

    The standard deviation has ddof 0, as in other evaluations. Raises InputError if there are no values.
    """
    if not values:
        raise InputError("there are no values to take the mean of, expected one a repeat")
    return float(np.mean(values)), float(1.96 * np.std(values) / math.sqrt(len(values)))


@runtime_checkable
class TextMotionEvaluator(Interface):
    """Interface of an evaluator, ours or one of the field's."""

    name: str
    """Name of the evaluator in reports."""
    version: str
    """Start of the sha256 of its weights."""
    dim: int
    """Length of an embedding."""
    fps: float
    """Frame rate that its motions must have."""
    protocol: Protocol
    """Conventions that its published numbers follow."""

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        """Embed captions, one row each."""

    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion dim"]:
        """Embed motions, one row each; raises InputError for a motion that the evaluator cannot take."""


def check_rate(motion: MotionSequence, fps: float) -> None:
    """Raise InputError unless the motion has the evaluator's frame rate."""
    if abs(motion.fps - fps) > 0.01:
        raise InputError(
            f"{motion.id}: has {motion.fps:g} frames per second, the evaluator takes {fps:g}: prepare or resample it so"
        )
