"""What the numbers of an evaluation are called, in which unit they are, and which way is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """One number. Beyond `threshold` it is bad; `source` says who says so, or whose definition it is.

    Where better is "real", being near the value of real motions is.
    """

    title: str
    unit: str
    threshold: float | None
    source: str
    what: str
    better: Literal["lower", "higher", "real"] = "lower"


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
"""What `field_metrics` gives."""

MEMORISATION = Measure(
    "Nearest training clip",
    "m",
    None,
    "ours",
    "RMS joint distance of a motion's windows from the nearest ones in the training clips, laid on each other",
    better="real",
)
