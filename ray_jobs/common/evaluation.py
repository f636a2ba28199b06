"""Content of evaluation.json, which `ray_jobs.evaluate` writes and its page shows."""

from typing import Literal, TypedDict


class MeasureContent(TypedDict):
    """Fields of a `motion.metrics.measure.Measure`."""

    title: str
    unit: str
    threshold: float | None
    source: str
    what: str
    better: Literal["lower", "higher", "real"]


class ProtocolContent(TypedDict):
    """Fields of a `motion.evaluator.Protocol`."""

    name: str
    pool_size: int
    embedding_scale: float
    diversity_divisor: float
    diversity_pairs: int
    multimodality_pairs: int
    repeats: int


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
    """Whole content of the file."""

    format: str
    created: str
    """Time in UTC, ISO 8601."""
    seconds: float
    """Time that the evaluation took."""
    command: str
    """Command that repeats the evaluation."""
    evaluator: EvaluatorContent
    protocol: ProtocolContent
    notes: list[str]
    """Sentences that a reader of the numbers has to know."""
    measures: dict[str, MeasureContent]
    """Descriptions of the measures by name, in the order of tables."""
    sets: list[SetContent]
    """Real clips, then the generated sets."""
