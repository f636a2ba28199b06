"""What a number of the field depends on besides the embeddings: pool size, scales, pairs and repeats.

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
    """How the metrics are taken; `embedding_scale` acts in FID and Diversity, `diversity_divisor` on differences."""

    name: str
    pool_size: int
    embedding_scale: float
    diversity_divisor: float
    diversity_pairs: int = 300
    multimodality_pairs: int = 10
    repeats: int = 20

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "name" and not 0 < value < math.inf:
                raise InputError(f"protocol {self.name}: {name} is {value}, expected a positive number")


HUMANML3D = Protocol("humanml3d", pool_size=32, embedding_scale=1.0, diversity_divisor=1.0)
INTERHUMAN = Protocol("interhuman", pool_size=96, embedding_scale=6.0, diversity_divisor=2.0)
CARESCENE = Protocol("carescene", pool_size=32, embedding_scale=1.0, diversity_divisor=1.0)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean over repeats and the half-width of its 95 % interval, 1.96 std / sqrt(n) with ddof 0 as the peers."""
    if not values:
        raise InputError("there are no values to take the mean of, expected one a repeat")
    return float(np.mean(values)), float(1.96 * np.std(values) / math.sqrt(len(values)))


@runtime_checkable
class TextMotionEvaluator(Interface):
    """What an evaluation needs of an evaluator, ours or one of the field's."""

    name: str
    version: str
    """The start of the sha256 of its weights."""
    dim: int
    fps: float
    protocol: Protocol
    """The conventions that its published numbers follow."""

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]: ...

    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion dim"]: ...


def check_rate(motion: MotionSequence, fps: float) -> None:
    if abs(motion.fps - fps) > 0.01:
        raise InputError(
            f"{motion.id}: has {motion.fps:g} frames per second, the evaluator takes {fps:g}: prepare or resample it so"
        )
