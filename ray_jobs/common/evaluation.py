"""Results of an evaluation, which `ray_jobs.evaluate` writes as evaluation.json and shows on its page."""

from typing import TypedDict

from motion.evaluator import Protocol
from motion.metrics.measure import Measure


class EvaluatorContent(TypedDict):
    """Evaluator that the motions were judged by."""

    name: str
    version: str
    """Start of the sha256 of its file."""
    dim: int
    """Numbers in an embedding."""


class Mean(TypedDict):
    """Mean of a measure over a set's motions, or over the repeats of a metric of the whole set."""

    mean: float
    interval: float
    """Half-width of the 95 % interval."""
    count: int
    """Number of values averaged."""


class WorstMotion(TypedDict):
    """Motion of a generated set that is far beyond the limit of a measure."""

    id: str
    caption: str
    """First caption; empty for none."""
    measure: str
    value: float
    times: float
    """Value divided by the limit."""


class SetContent(TypedDict):
    """Set of motions: where it is, how large it is, and its numbers."""

    name: str
    uri: str
    """Folder or URI; the split follows in brackets."""
    motions: int
    captions: int
    """Number of different captions."""
    seconds: float
    """Length of all motions together."""
    versions: list[str]
    """Versions of the models that made the motions."""
    metrics: dict[str, Mean]
    """Means by measure; measures that apply to no motion are absent."""
    worst: list[WorstMotion]


class Evaluation(TypedDict):
    """All results; the file holds the records among them as objects of their fields."""

    format: str
    created: str
    """Time in UTC, ISO 8601."""
    seconds: float
    """Time that the evaluation took."""
    command: str
    """Command that repeats the evaluation."""
    evaluator: EvaluatorContent
    protocol: Protocol
    notes: list[str]
    """Sentences that a reader of the numbers has to know."""
    measures: dict[str, Measure]
    """Descriptions of the measures by name, in the order of tables."""
    sets: list[SetContent]
    """Real clips, then the generated sets."""
