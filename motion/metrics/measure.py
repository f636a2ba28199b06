"""Descriptions of an evaluation's numbers: title, unit, threshold, source, and which way is better."""

from dataclasses import dataclass
from typing import Literal, Protocol

from motion.sequence import MotionSequence


@dataclass(frozen=True)
class Measure:
    """Description of one number of an evaluation."""

    title: str
    """Name in tables and on pages."""
    unit: str
    """Unit of the number; empty for none."""
    threshold: float | None
    """Value beyond which the number is bad; None where there is no such value."""
    source: str
    """Author of the threshold or of the definition."""
    what: str
    """Definition in a phrase."""
    better: Literal["lower", "higher", "real"] = "lower"
    """Direction of better numbers; "real" means near the value of real motions."""


class MotionMetric(Protocol):
    """User's own function that measures one motion, for `--metrics package.module:object`."""

    measure: Measure
    """Description of the number: title, unit, threshold, direction."""

    def __call__(self, motion: MotionSequence) -> float:
        """Measure one motion; NaN where the measure does not apply, InputError where the motion cannot be measured."""


R_PRECISION_SOURCE = "Guo et al. 2022"
FIELD: dict[str, Measure] = {
    "fid": Measure(
        "FID", "", None, "Heusel et al. 2017", "Fréchet distance of the embeddings from those of the real clips"
    ),
    **{
        f"r_precision_{k}": Measure(
            f"R-precision top-{k}",
            "",
            None,
            R_PRECISION_SOURCE,
            f"share of captions whose own motion is among the {k} nearest of its pool",
            better="higher",
        )
        for k in (1, 2, 3)
    },
    "mm_dist": Measure("MM-Dist", "", None, R_PRECISION_SOURCE, "distance of a caption from its motion"),
    "diversity": Measure("Diversity", "", None, "Guo et al. 2020", "distance of two motions of the set", better="real"),
    "multimodality": Measure(
        "MultiModality",
        "",
        None,
        "Guo et al. 2020",
        "distance of two motions of the same caption",
        better="real",
    ),
}
"""Descriptions of the numbers that `field_metrics` gives."""

MEMORISATION = Measure(
    "Nearest training clip",
    "m",
    None,
    "ours",
    "RMS joint distance of a motion's windows from the nearest ones in the training clips, laid on each other",
    better="real",
)
"""Description of the distance that `motion.metrics.memorisation` gives."""
