"""Demo page: generated motions beside the real clip of the same caption, in one HTML file that opens from disk.

Errors are metres, root-aligned (`mpjpe`). Joints travel in the page as base64 of little-endian int16 millimetres, C
order (person, frame, joint, xyz); `player.js.j2` draws them.
"""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import numpy as np
from jaxtyping import Float

from motion.errors import InputError
from motion.metrics.pose_error import mpjpe
from motion.sequence import MotionSequence
from motion.skeleton import BONES, JOINT, LEFT, RIGHT
from ray_jobs.common import storage
from ray_jobs.pages.page import render_page

TEMPLATE = "report.html.j2"
PROMISE_M = 0.1
"""Most that the demo promises for the mean, over captions, of the best sample's error; metres."""
WORST_M = 0.25
"""Most that it promises for the best sample of each caption; metres."""
RECOGNISED, RECOGNISED_IN_OTHER_WORDS = 0.95, 0.85
"""Least shares of samples that are nearest to the clip that was asked for, by its caption and in other words."""
LEAN_DEG = 15.0
"""Most that the trunk of who walks leans in any frame, in degrees from the vertical."""
ABSENT_MM = -32768  # coordinate of a person who is absent in a frame
_SIDES = {**dict.fromkeys(LEFT, "left"), **dict.fromkeys(RIGHT, "right")}
SKELETON = {
    "bones": [[parent, child, _SIDES.get(child, "trunk")] for parent, child in BONES],
    "neck": JOINT["neck"],
    "head": JOINT["head"],
}
"""Bones with their side, neck and head: what the page's player needs to draw joints."""
CHART_SIZE_PX = (420, 250)
CHART_MARGINS_PX = (46, 12, 14, 34)  # left, right, top, bottom


@dataclass(frozen=True)
class Comparison:
    """Real clip with the samples of its caption, by rising seed, and the error of each in metres."""

    caption: str
    real: MotionSequence
    samples: list[MotionSequence]
    errors: list[float]

    @property
    def num_frames(self) -> int:
        """Length of the real clip in frames."""
        return self.real.num_frames

    @property
    def best(self) -> int:
        """Index of the sample nearest to the real clip."""
        return int(np.argmin(self.errors))

    @property
    def best_error(self) -> float:
        """Error of the best sample in metres."""
        return self.errors[self.best]

    @property
    def mean_error(self) -> float:
        """Mean error of the samples in metres."""
        return mean(self.errors)


@dataclass(frozen=True)
class Report:
    """Content of the demo page."""

    model_version: str
    num_parameters: int
    recipe: str
    loss: list[tuple[int, float]]
    """Training loss as (step, value) pairs in order."""
    rows: list[Comparison]
    """Real clips with what was generated for their captions."""
    stages: dict[str, float]
    """Seconds that each stage took, in order."""
    places: dict[str, str]
    """Path, or command that opens it, by the name of what is there."""
    others: list[Comparison] = field(default_factory=list)
    """Real clips with what was generated for other words, which nothing was trained on."""
    walk: str = ""
    """Caption of the clip in which a person walks upright."""
    rooms: dict[str, bytes] = field(default_factory=dict)
    """JPEG pictures of the reconstructed rooms by their title."""


def compare(real: Sequence[MotionSequence], generated: Sequence[MotionSequence]) -> list[Comparison]:
    """Pair each captioned real clip with the samples of its caption, in the order of `real`.

    Raises InputError where captions are not one a clip and all different, a sample's caption belongs to no clip, or a
    caption has no sample.
    """
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


@dataclass(frozen=True)
class Promise:
    """One of the demo's promises, with what was measured."""

    what: str
    """Name of the quantity."""
    measured: float
    """Its value."""
    bound: float
    """Bound that it keeps to."""
    shown: str
    """Format of both, as a share, in metres or in degrees."""
    at_least: bool = False
    """True where the bound is the least, False where it is the most."""

    @property
    def kept(self) -> bool:
        """Tell whether it holds."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


def promises(report: Report) -> list[Promise]:
    """Measure all that the demo promises, of which other words and the walk only where the report has them."""
    rows = report.rows
    found = [
        Promise("error of the best sample, mean over captions", mean_best_error(rows), PROMISE_M, "{:.3f} m"),
        Promise("the same for the worst caption", max(row.best_error for row in rows), WORST_M, "{:.3f} m"),
        Promise("samples nearest to the clip of their caption", recognised(rows), RECOGNISED, "{:.1%}", at_least=True),
    ]
    if report.others:
        share = recognised(report.others)
        found.append(Promise("the same in other words", share, RECOGNISED_IN_OTHER_WORDS, "{:.1%}", at_least=True))
    walks = [lean_deg(sample) for row in rows if row.caption == report.walk for sample in row.samples]
    if walks:
        found.append(Promise("greatest lean of who walks", max(walks), LEAN_DEG, "{:.1f}°"))
    return found


def recognised(comparisons: Sequence[Comparison]) -> float:
    """Compute the share of all samples to which, of all the real clips, the one that was asked for is nearest."""
    hits = [hit for row in comparisons for hit in row_hits(row, comparisons)]
    return sum(hits) / len(hits)


def row_hits(row: Comparison, comparisons: Sequence[Comparison]) -> list[bool]:
    """Tell for each sample of a row whether the row's own clip is the nearest, over the frames that both have."""
    return [
        min(comparisons, key=lambda other: _common_error(sample.joints, other.real.joints)) is row
        for sample in row.samples
    ]


def lean_deg(motion: MotionSequence) -> float:
    """Compute the greatest angle between pelvis-to-neck and the vertical in any frame where a person is present."""
    trunk = (motion.joints[:, :, JOINT["neck"]] - motion.joints[:, :, JOINT["pelvis"]])[motion.valid]
    return float(np.degrees(np.arctan2(np.linalg.norm(trunk[:, :2], axis=1), trunk[:, 2])).max())


def mean_best_error(comparisons: Sequence[Comparison]) -> float:
    """Average the best sample's error over captions, in metres; the demo promises `PROMISE_M` at most."""
    return mean(row.best_error for row in comparisons)


def nearest_other_error(comparisons: Sequence[Comparison]) -> float:
    """Average each real clip's error to the most similar other clip, over the frames that both have (metres).

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
    """Write the page; it appears under its name only when complete."""
    rows = report.rows
    chart = loss_chart(report.loss)
    page = render_page(
        TEMPLATE,
        report=report,
        rows=rows,
        overall=mean_best_error(rows),
        scale=nearest_other_error(rows),
        promise=PROMISE_M,
        promises=promises(report),
        others=[(row, sum(row_hits(row, report.others))) for row in report.others],
        samples=[sample for row in rows for sample in row.samples],
        counts="–".join(str(n) for n in sorted({len(row.samples) for row in rows})),
        chart=chart,
        rooms=[(text, base64.b64encode(picture).decode()) for text, picture in report.rooms.items()],
        data=_page_data(rows, chart),
    )
    storage.write_bytes(str(path), page.encode())


@dataclass(frozen=True)
class Chart:
    """Chart of the loss over steps in SVG units, with a logarithmic value axis."""

    points: list[tuple[float, float, int, float]]
    """Points as (x, y, step, value)."""
    step_ticks: list[tuple[float, str]]
    """Ticks of the step axis as (x, label)."""
    value_ticks: list[tuple[float, str]]
    """Ticks of the value axis as (y, label)."""
    frame: tuple[int, int, int, int] = (
        CHART_MARGINS_PX[0],
        CHART_MARGINS_PX[2],
        CHART_SIZE_PX[0] - CHART_MARGINS_PX[1],
        CHART_SIZE_PX[1] - CHART_MARGINS_PX[3],
    )
    """Edges of the plot: left, top, right, bottom."""


def loss_chart(loss: Sequence[tuple[int, float]]) -> Chart | None:
    """Lay out the loss chart; None when no value is positive and finite."""
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
    """List 1, 2 and 5 times the powers of ten in a range; the powers alone over more than three decades."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high < 1000 * low else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def _page_data(rows: Sequence[Comparison], chart: Chart | None) -> dict[str, object]:
    """Collect the data that the page's script draws."""
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
    """Encode a clip's joints as the page's player takes them; absent persons are ABSENT_MM."""
    millimetres = (1000 * clip.joints).round().clip(ABSENT_MM + 1, -(ABSENT_MM + 1))
    present = np.where(clip.valid[:, :, None, None], millimetres, ABSENT_MM)
    return base64.b64encode(present.astype("<i2").tobytes()).decode()
