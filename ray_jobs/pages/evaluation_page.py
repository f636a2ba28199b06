"""Evaluation as one HTML page that opens from disk and asks no server, and as Markdown tables.

Both show `evaluation.json` and compute nothing but comparisons. An entry of a set's metrics is the mean of `count`
values and the half-width of its 95 % interval; the first set is the real clips. Worse is higher or lower as the measure
says, or farther from the real clips' mean, whose own interval then counts as well.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from motion.evaluator import Protocol
from motion.metrics.measure import FIELD, Measure
from motion.sequence import MotionSequence
from ray_jobs.common.evaluation import Evaluation, Mean, SetContent
from ray_jobs.pages.demo_report import SKELETON, packed
from ray_jobs.pages.page import render_page

TEMPLATE = "evaluation.html.j2"
MEMORISATION_PREFIX = "memorisation"  # of the names of its measures
ARROWS = {
    "lower": ("↓", "lower is better"),
    "higher": ("↑", "higher is better"),
    "real": ("→", "nearer to the real clips' value is better"),
}
EVALUATORS = {
    "carescene": "carescene's own evaluator, so the numbers compare with those of the same version only",
    "interclip": "InterCLIP of InterGen (Liang et al. 2024)",
    "humanml3d": "the evaluator of HumanML3D (Guo et al. 2022)",
}
COPY_PERCENTILE = 5  # of the real clips' distances; a motion nearer to the training clips may be a copy
SMALLEST_SHOWN = 5e-5  # smaller differences do not show in four decimals and count as none
BINS = 24
PLOT_SIZE_PX = (320, 104)  # width, height


@dataclass(frozen=True)
class Cell:
    """Table cell: one measure of one set; empty text where the measure does not apply."""

    text: str = ""
    best: bool = False
    """True for the generated set that is best by more than the intervals."""
    beyond: bool = False
    """True when the mean lies beyond the measure's threshold."""
    count: int = 0
    """Number of values averaged."""


@dataclass(frozen=True)
class Row:
    """Table row: one measure of all sets."""

    key: str
    measure: Measure
    cells: list[Cell]

    @property
    def arrow(self) -> tuple[str, str]:
        """Arrow of the better direction, and its meaning in words."""
        return ARROWS[self.measure.better]


@dataclass(frozen=True)
class Difference:
    """Difference of two generated sets in one measure.

    `better` is the index of the better set; None when the difference does not exceed the intervals.
    """

    row: Row
    text: str
    better: int | None


@dataclass(frozen=True)
class Series:
    """One set's part of a histogram: `shares` of its values by bin, and the outline as an SVG path."""

    set_index: int
    count: int
    median: float
    shares: list[float]
    path: str


@dataclass(frozen=True)
class SetsHistogram:
    """Sets over common bins from `low` to `high`; values outside are counted in the first and last bin."""

    measure: Measure
    low: float
    high: float
    below: int
    above: int
    series: list[Series]

    def edge(self, index: int) -> float:
        """Compute the lower edge of a bin."""
        return self.low + (self.high - self.low) * index / BINS


def render(
    evaluation: Evaluation,
    samples: Mapping[str, Mapping[str, np.ndarray]],
    worst: Mapping[str, Sequence[MotionSequence]],
) -> str:
    """Render the page.

    `samples` are each motion's values by set and measure, `worst` the motions of each set's list of the worst.
    """
    rows = _rows(evaluation)
    generated = evaluation["sets"][1:]
    histograms = {key: _histogram(key, evaluation, samples) for key in evaluation["measures"]}
    by_id = {row["name"]: {clip.id: clip for clip in worst[row["name"]]} for row in generated}
    cards = [_card(by_id[row["name"]][each["id"]]) for row in generated for each in row["worst"]]
    return render_page(
        TEMPLATE,
        evaluation=evaluation,
        evaluator=EVALUATORS.get(evaluation["evaluator"]["name"], ""),
        protocol=_protocol(evaluation["protocol"]),
        field=[row for row in rows if row.key in FIELD],
        others=[row for row in rows if row.key not in FIELD],
        absent=[m.title for key, m in evaluation["measures"].items() if key not in {row.key for row in rows}],
        differences=_differences(evaluation, rows) if len(generated) == 2 else [],
        histograms=[h for key, h in histograms.items() if h and not key.startswith(MEMORISATION_PREFIX)],
        memorised=[h for key, h in histograms.items() if h and key.startswith(MEMORISATION_PREFIX)],
        copies=_copies(evaluation, samples),
        copy_percentile=COPY_PERCENTILE,
        bins=BINS,
        plot=PLOT_SIZE_PX,
        data=SKELETON | {"cards": cards},
    )


def table(evaluation: Evaluation) -> str:
    """Format the numbers as two Markdown tables: the field's metrics by set, and all others by measure."""
    rows = _rows(evaluation)
    field = [row for row in rows if row.key in FIELD]
    others = [row for row in rows if row.key not in FIELD]
    names = [each["name"] for each in evaluation["sets"]]
    by_set = [[name, *(_markdown(row.cells[k]) for row in field)] for k, name in enumerate(names)]
    by_measure = [[_heading(row), _threshold(row), *map(_markdown, row.cells)] for row in others]
    return "\n\n".join(
        (
            _grid(["", *map(_heading, field)], by_set),
            _grid(["", "threshold", *names], by_measure),
            "Mean ± 95 % interval. **Bold**: the best generated set, where its interval and the next best's do not "
            "overlap. (!): beyond the threshold.\n",
        )
    )


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    aligned = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(map(_plain, cells)) + " |" for cells in (head, aligned, *rows))


def _plain(text: str) -> str:
    """Escape text such that Markdown keeps it in its cell and does not read it as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _markdown(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text or "–"
    return f"{text} (!)" if cell.beyond else text


def _heading(row: Row) -> str:
    unit = f" ({row.measure.unit})" if row.measure.unit else ""
    return f"{row.measure.title}{unit} {row.arrow[0]}"


def _threshold(row: Row) -> str:
    return "" if row.measure.threshold is None else f"{row.measure.threshold:g}"


def _rows(evaluation: Evaluation) -> list[Row]:
    """Collect the measures that at least one set has, in their order."""
    rows = []
    for key, measure in evaluation["measures"].items():
        entries = [_entry(each, key) for each in evaluation["sets"]]
        if any(entries):
            rows.append(Row(key, measure, _cells(measure, entries)))
    return rows


def _entry(row: SetContent, key: str) -> Mean | None:
    entry = row["metrics"].get(key)
    return entry if entry and entry["mean"] is not None and math.isfinite(entry["mean"]) else None


def _cells(measure: Measure, entries: Sequence[Mean | None]) -> list[Cell]:
    decimals = _decimals(entry["mean"] for entry in entries if entry)
    best = _best(measure, entries)
    return [
        Cell(
            text=_with_interval(entry["mean"], _half_width(entry), decimals),
            best=index == best,
            beyond=_is_beyond(measure, entry["mean"]),
            count=entry["count"],
        )
        if entry
        else Cell()
        for index, entry in enumerate(entries)
    ]


def _half_width(entry: Mean) -> float:
    """Half-width of an entry's interval; infinite for a single value, whose spread is unknown."""
    return entry["interval"] if entry["count"] > 1 else math.inf


def _is_beyond(measure: Measure, mean: float) -> bool:
    if measure.threshold is None:
        return False
    return mean < measure.threshold if measure.better == "higher" else mean > measure.threshold


def _decimals(values: Iterable[float]) -> int:
    """Choose decimals for three significant digits of the largest value, at most four."""
    largest = max(map(abs, values), default=0.0)
    power = math.floor(math.log10(largest)) if largest else 0
    return min(max(3 - power if power >= 0 else 2 - power, 0), 4)


def _with_interval(value: float, half_width: float, decimals: int, sign: str = "-") -> str:
    text = f"{value:{sign},.{decimals}f}".replace("-", "−")
    return f"{text} ± {half_width:,.{decimals}f}" if math.isfinite(half_width) else text


def _badness(measure: Measure, entry: Mean, real: Mean | None) -> tuple[float, float]:
    """Express an entry such that smaller is better, with the half-width of its interval."""
    if measure.better != "real":
        return (entry["mean"] if measure.better == "lower" else -entry["mean"]), _half_width(entry)
    if real is None:
        return 0.0, math.inf
    return abs(entry["mean"] - real["mean"]), math.hypot(_half_width(entry), _half_width(real))


def _best(measure: Measure, entries: Sequence[Mean | None]) -> int | None:
    """Find the best generated set, if its interval does not overlap the next best's."""
    ranked = sorted((*_badness(measure, e, entries[0]), k) for k, e in enumerate(entries) if e and k)
    if len(ranked) < 2:
        return None
    (first, first_width, index), (second, second_width, _) = ranked[:2]
    return index if second - first > max(first_width + second_width, SMALLEST_SHOWN) else None


def _differences(evaluation: Evaluation, rows: Sequence[Row]) -> list[Difference]:
    """Subtract the first generated set from the second in the measures that both have."""
    found = []
    for row in rows:
        real, first, second = (_entry(each, row.key) for each in evaluation["sets"])
        if first is None or second is None:
            continue
        half_width = math.hypot(_half_width(first), _half_width(second))
        decimals = _decimals(entry["mean"] for entry in (real, first, second) if entry)
        text = _with_interval(second["mean"] - first["mean"], half_width, decimals, sign="+")
        (a, a_width), (b, b_width) = (_badness(row.measure, entry, real) for entry in (first, second))
        differs = abs(b - a) > max(math.hypot(a_width, b_width), SMALLEST_SHOWN)
        found.append(Difference(row, text, (1 if a < b else 2) if differs else None))
    return found


def _histogram(
    key: str, evaluation: Evaluation, samples: Mapping[str, Mapping[str, np.ndarray]]
) -> SetsHistogram | None:
    """Count all sets in common bins; None when no set has values by motion."""
    values = {k: _finite(samples, each["name"], key) for k, each in enumerate(evaluation["sets"])}
    values = {k: array for k, array in values.items() if len(array)}
    if not values:
        return None
    everything = np.concatenate(list(values.values()))
    low, high = _range(values.values())
    return SetsHistogram(
        measure=evaluation["measures"][key],
        low=low,
        high=high,
        below=int((everything < low).sum()),
        above=int((everything > high).sum()),
        series=_series(values, low, high),
    )


def _series(values: Mapping[int, np.ndarray], low: float, high: float) -> list[Series]:
    """Count the values of each set, by its number, in bins from `low` to `high`, as shares of the set."""
    shares = {
        k: np.histogram(array.clip(low, high), BINS, (low, high))[0] / len(array) if high > low else np.ones(1)
        for k, array in values.items()
    }
    peak = max(share.max() for share in shares.values())
    return [
        Series(k, len(values[k]), float(np.median(values[k])), share.tolist(), _steps(share / peak))
        for k, share in shares.items()
    ]


def _finite(samples: Mapping[str, Mapping[str, np.ndarray]], name: str, key: str) -> np.ndarray:
    values = np.asarray(samples.get(name, {}).get(key, ()), dtype=float)
    return values[np.isfinite(values)]


def _range(values: Iterable[np.ndarray]) -> tuple[float, float]:
    """Span the lowest 1st to the highest 99th percentile of the sets; all values if those are one number."""
    arrays = list(values)
    low = min(float(np.percentile(array, 1)) for array in arrays)
    high = max(float(np.percentile(array, 99)) for array in arrays)
    least, most = min(array.min() for array in arrays), max(array.max() for array in arrays)
    if high <= low:
        return float(least), float(most)
    return (0.0 if least >= 0 and low < high / 4 else low), high


def _steps(heights: np.ndarray) -> str:
    """Draw the outline of bars, 0 to 1 high, as an SVG path."""
    width, height = PLOT_SIZE_PX
    corners = (f"V{height * (1 - y):.1f}H{width * (k + 1) / len(heights):.1f}" for k, y in enumerate(heights))
    return f"M0 {height}{''.join(corners)}V{height}"


def _copies(
    evaluation: Evaluation, samples: Mapping[str, Mapping[str, np.ndarray]]
) -> list[tuple[str, float, list[tuple[str, float]]]]:
    """Compute, by memorisation measure, the distance that few real clips stay below and each set's share below it."""
    found = []
    for key in evaluation["measures"]:
        real = _finite(samples, evaluation["sets"][0]["name"], key)
        if not key.startswith(MEMORISATION_PREFIX) or not len(real):
            continue
        limit = float(np.percentile(real, COPY_PERCENTILE))
        values = [(each["name"], _finite(samples, each["name"], key)) for each in evaluation["sets"][1:]]
        shares = [(name, float((array < limit).mean())) for name, array in values if len(array)]
        found.append((key, limit, shares))
    return found


def _protocol(protocol: Protocol) -> list[str]:
    """Describe the evaluation protocol's conventions in words."""
    scale, divisor = protocol.embedding_scale, protocol.diversity_divisor
    return [
        f"R-precision: each caption's own motion among {protocol.pool_size} candidates",
        "embeddings as the evaluator gives them"
        if scale == 1
        else f"embeddings multiplied by {scale:g} for FID and Diversity",
        "Diversity: the distance as it is" if divisor == 1 else f"Diversity: the difference divided by {divisor:g}",
        f"{protocol.diversity_pairs} random pairs for Diversity, "
        f"{protocol.multimodality_pairs} a caption for MultiModality",
        f"{protocol.repeats} repeats, each with its own draws",
    ]


def _card(clip: MotionSequence) -> dict[str, object]:
    return {"fps": clip.fps, "frames": clip.num_frames, "persons": clip.num_persons, "clip": packed(clip)}
