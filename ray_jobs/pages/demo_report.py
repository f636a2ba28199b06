"""The demo's page: one HTML file that opens from disk and asks no server for anything.

It lays what was generated beside the real clip of the same caption. Errors are metres, root-aligned (`mpjpe`).
Joints travel in the page as base64 of little-endian int16 millimetres, C order (person, frame, joint, xyz);
`player.js.j2` draws them.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from jaxtyping import Float

from motion.errors import InputError
from motion.metrics.pose_error import mpjpe
from motion.sequence import MotionSequence
from motion.skeleton import BONES, JOINT, LEFT, RIGHT
from ray_jobs.common import storage
from ray_jobs.pages.page import render_page

TEMPLATE = "report.html.j2"
PROMISE = 0.25  # metres that the mean over captions of the best sample's error stays below
ABSENT = -32768  # in place of each coordinate of a person who is not there
_SIDES = {**dict.fromkeys(LEFT, "left"), **dict.fromkeys(RIGHT, "right")}
SKELETON = {
    "bones": [[parent, child, _SIDES.get(child, "trunk")] for parent, child in BONES],
    "neck": JOINT["neck"],
    "head": JOINT["head"],
}
"""What the player must know of the joints."""
CHART_SIZE = (420, 250)
CHART_MARGINS = (46, 12, 14, 34)  # left, right, top, bottom


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    model_version: str
    num_parameters: int
    recipe: str
    loss: list[tuple[int, float]]
    """(step, value) pairs in order."""
    real: list[MotionSequence]
    generated: list[MotionSequence]
    """Each with the caption as its first text and the length of the real clip of that caption."""
    stages: dict[str, float]
    """Seconds by name, in order."""
    places: dict[str, str]
    """Path, or command that opens it, by what is there."""
    rooms: dict[str, bytes] = field(default_factory=dict)
    """Pictures (JPEG) of the reconstructed rooms by what is in them."""


@dataclass(frozen=True)
class Comparison:
    """A real clip, the samples of its caption by rising seed, and the error of each in metres."""

    caption: str
    real: MotionSequence
    samples: list[MotionSequence]
    errors: list[float]

    @property
    def num_frames(self) -> int:
        return self.real.num_frames

    @property
    def best(self) -> int:
        """Index of the sample that is nearest to the real clip."""
        return int(np.argmin(self.errors))

    @property
    def best_error(self) -> float:
        return self.errors[self.best]

    @property
    def mean_error(self) -> float:
        return mean(self.errors)


def compare(real: Sequence[MotionSequence], generated: Sequence[MotionSequence]) -> list[Comparison]:
    """One row per real clip that has a caption, in the order of `real`."""
    clips = [clip for clip in real if clip.texts]
    captions = [clip.texts[0] for clip in clips]
    samples: dict[str, list[MotionSequence]] = {caption: [] for caption in captions}
    if not clips or len(samples) < len(clips):
        raise InputError(f"the {len(real)} real clips have {len(samples)} captions, expected one each, all different")
    for sample in sorted(generated, key=lambda sample: int(sample.provenance["seed"])):
        if sample.texts[0] not in samples:
            raise InputError(f"{sample.id} was generated for {sample.texts[0]!r}, which is no real clip's caption")
        samples[sample.texts[0]].append(sample)
    if missing := [caption for caption in captions if not samples[caption]]:
        raise InputError(f"nothing was generated for {len(missing)} caption(s), the first is {missing[0]!r}")
    return [
        Comparison(caption, clip, samples[caption], [mpjpe(s.joints, clip.joints) for s in samples[caption]])
        for caption, clip in zip(captions, clips, strict=True)
    ]


def mean_best_error(comparisons: Sequence[Comparison]) -> float:
    """Mean over captions of the best sample's error, in metres: what the demo promises to keep below `PROMISE`."""
    return mean(row.best_error for row in comparisons)


def nearest_other_error(comparisons: Sequence[Comparison]) -> float:
    """Mean error between each real clip and the most similar other one, over the frames that both have.

    A model that ignores its caption can hardly do better. NaN for a single clip.
    """
    if len(comparisons) < 2:
        return math.nan
    return mean(
        min(_common_error(row.real.joints, other.real.joints) for other in comparisons if other is not row)
        for row in comparisons
    )


def _common_error(a: Float[np.ndarray, "person frame 24 3"], b: Float[np.ndarray, "person _ 24 3"]) -> float:
    frames = min(a.shape[1], b.shape[1])
    return mpjpe(a[:, :frames], b[:, :frames])


def write_report(path: str | Path, report: Report) -> None:
    """Write the page, which appears under its name only when complete."""
    rows = compare(report.real, report.generated)
    chart = loss_chart(report.loss)
    page = render_page(
        TEMPLATE,
        report=report,
        rows=rows,
        overall=mean_best_error(rows),
        scale=nearest_other_error(rows),
        promise=PROMISE,
        counts="–".join(str(n) for n in sorted({len(row.samples) for row in rows})),
        chart=chart,
        rooms=[(text, base64.b64encode(picture).decode()) for text, picture in report.rooms.items()],
        data=_page_data(rows, chart),
    )
    storage.write_bytes(str(path), page.encode())


@dataclass(frozen=True)
class Chart:
    """The loss over steps in SVG units, its height logarithmic."""

    points: list[tuple[float, float, int, float]]
    """x, y, step, value."""
    step_ticks: list[tuple[float, str]]
    value_ticks: list[tuple[float, str]]
    frame: tuple[int, int, int, int] = (
        CHART_MARGINS[0],
        CHART_MARGINS[2],
        CHART_SIZE[0] - CHART_MARGINS[1],
        CHART_SIZE[1] - CHART_MARGINS[3],
    )
    """left, top, right, bottom"""


def loss_chart(loss: Sequence[tuple[int, float]]) -> Chart | None:
    """None where no value can be drawn on a logarithmic axis."""
    drawn = [(step, value) for step, value in loss if 0 < value < math.inf]
    if not drawn:
        return None
    left, top, right, bottom = Chart.frame
    last = max(step for step, _ in drawn)
    low, high = (math.log10(edge(value for _, value in drawn)) for edge in (min, max))
    low, high = low - 0.05, high + 0.05

    def x(step: float) -> float:
        return round(left + (right - left) * step / max(last, 1), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * (math.log10(value) - low) / (high - low), 1)

    values = _log_ticks(10**low, 10**high)
    steps = [round(last * k / 4) for k in range(5)] if last >= 4 else [0, last]
    return Chart(
        points=[(x(step), y(value), step, value) for step, value in drawn],
        step_ticks=[(x(step), f"{step:,}") for step in dict.fromkeys(steps)],
        value_ticks=[(y(value), f"{value:g}") for value in values],
    )


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between, or the powers alone over more than three decades."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high < 1000 * low else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def _page_data(rows: Sequence[Comparison], chart: Chart | None) -> dict[str, Any]:
    """What the page's script draws."""
    return SKELETON | {
        "loss": chart.points if chart else [],
        "cards": [
            {
                "fps": row.real.fps,
                "frames": row.num_frames,
                "persons": row.real.num_persons,
                "real": packed(row.real),
                "samples": [packed(sample) for sample in row.samples],
            }
            for row in rows
        ],
    }


def packed(clip: MotionSequence) -> str:
    """Its joints as the player takes them."""
    millimetres = (1000 * clip.joints).round().clip(ABSENT + 1, -(ABSENT + 1))
    present = np.where(clip.valid[:, :, None, None], millimetres, ABSENT)
    return base64.b64encode(present.astype("<i2").tobytes()).decode()
