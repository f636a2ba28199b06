"""Dataset card: the content of a prepared data set as one HTML page that opens from disk and asks no server.

It shows counts, minutes, frame rates, captions, actions and licences by source, histograms of what distinguishes one
data set from another, pictures of a few clips, and what was left out. Times are seconds unless said, heights metres.
"""

import base64
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import pyarrow as pa

from motion.clips.duplicates import signature
from motion.clips.sanity import FLAGS
from motion.parquet import from_table
from motion.render import strip
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS
from ray_jobs.common import storage
from ray_jobs.pages.page import render_page

TEMPLATE = "dataset_card.html.j2"
BINS = 24
PICTURES_PER_SOURCE = 2
COMMON_WORDS = 30
# Words of nearly every caption, which say nothing about what the data hold.
STOP_WORDS = frozenset(
    (
        *("a", "an", "and", "as", "at", "by", "for", "from", "he", "her", "his", "in", "is", "it", "its", "man", "of"),
        *("on", "or", "person", "she", "someone", "the", "their", "them", "then", "they", "this", "to", "who", "with"),
    )
)
SURVEY = pa.schema(
    {
        "id": pa.string(),
        "clip": pa.string(),
        "source": pa.string(),
        "split": pa.string(),
        "seconds": pa.float64(),
        "persons": pa.int64(),
        "source_fps": pa.string(),
        "texts": pa.list_(pa.string()),
        "action_seconds": pa.list_(pa.float64()),
        "speed": pa.float64(),
        "lowest": pa.float64(),
        "flags": pa.string(),
        "signature": pa.list_(pa.float32()),
    }
)


class SurveyRow(TypedDict):
    """Description of one clip, by column names of SURVEY."""

    id: str
    clip: str
    """Id of the source's clip that this one is, or is a piece of."""
    source: str
    split: str
    seconds: float
    persons: int
    source_fps: str
    """Frame rate of the source's clip, formatted."""
    texts: list[str]
    action_seconds: np.ndarray
    """Seconds of each of ACTIONS, summed over persons."""
    speed: float
    """Mean speed of the pelvises over the floor, m/s."""
    lowest: float
    """Height of the lowest pelvis, m."""
    flags: str
    """Text on what is odd about it (`motion.clips.sanity`), empty for most."""
    signature: np.ndarray
    """Vector by which duplicates are found (`motion.clips.duplicates`)."""


def survey(motions: str) -> list[SurveyRow]:
    """Survey all clips of a Parquet folder: one row a clip, by column names of SURVEY."""
    dataset = storage.dataset(motions)
    rows = dataset.map_batches(survey_block, batch_size=None, batch_format="pyarrow").take_all()
    return cast("list[SurveyRow]", rows)  # their schema is SURVEY


def survey_block(table: pa.Table) -> pa.Table:
    """Describe the clips of one Arrow block as rows of SURVEY."""
    return pa.Table.from_pylist([_describe(clip) for clip in from_table(MotionSequence, table)], schema=SURVEY)


def _describe(clip: MotionSequence) -> SurveyRow:
    pelvis = np.where(clip.valid[..., None], clip.joints[:, :, 0], np.nan)
    steps = np.linalg.norm(np.diff(pelvis[..., :2], axis=1), axis=-1)
    return {
        "id": clip.id,
        "clip": clip.provenance.get("clip", clip.id),
        "source": clip.source,
        "split": clip.split,
        "seconds": clip.num_frames / clip.fps,
        "persons": clip.num_persons,
        "source_fps": clip.provenance.get("source_fps", f"{clip.fps:g}"),
        "texts": clip.texts,
        "action_seconds": np.bincount(clip.action[clip.valid], minlength=len(ACTIONS)) / clip.fps,
        "speed": float(np.nanmean(steps)) * clip.fps if np.isfinite(steps).any() else 0.0,
        "lowest": float(np.nanmin(pelvis[..., 2])),
        "flags": clip.provenance.get(FLAGS, ""),
        "signature": signature(clip),
    }


@dataclass(frozen=True)
class SourceRow:
    """Row of the page's table: one source's counts, minutes and licence."""

    name: str
    clips: int
    minutes: float
    splits: str
    persons: str
    rates: str
    captions: int
    captioned: int
    licence: str


@dataclass(frozen=True)
class Histogram:
    """Counts of clips in equal bins from `low`, `step` wide; values beyond the last bin are counted in it."""

    title: str
    unit: str
    counts: list[int]
    low: float
    step: float
    median: float
    ends: tuple[float, float]
    """Values that the axis shows at its two ends."""

    @classmethod
    def of(cls, title: str, unit: str, values: Sequence[float], whole: bool = False) -> "Histogram":
        """Count values: `whole` numbers in bins one wide, others in equal bins up to the 99th percentile."""
        array = np.asarray(values, dtype=float)
        if whole:
            first, last = array.min(), min(array.max(), array.min() + 2 * BINS)
            low, step, bins, ends = first - 0.5, 1.0, round(last - first) + 1, (first, last)
        else:
            last = max(float(np.percentile(array, 99)), 1e-6)
            low, step, bins, ends = 0.0, last / BINS, BINS, (0.0, last)
        counts, _ = np.histogram(array.clip(low, low + bins * step), bins=bins, range=(low, low + bins * step))
        return cls(title, unit, counts.tolist(), low, step, float(np.median(array)), ends)


def render(
    rows: Sequence[SurveyRow], motions: str, licences: Mapping[str, str], rejected: Sequence[tuple[str, str]]
) -> str:
    """Render the page of the surveyed `rows`.

    `motions` is the Parquet folder from which a few clips are drawn, `licences` is keyed by source, `rejected` are (id,
    reason) pairs.
    """
    texts = list(chain.from_iterable(row["texts"] for row in rows))
    words = Counter(word for text in texts for word in text.lower().split() if word.strip(".,") not in STOP_WORDS)
    seconds = np.sum([row["action_seconds"] for row in rows], axis=0)
    return render_page(
        TEMPLATE,
        sources=_sources(rows, licences),
        clips=len(rows),
        minutes=sum(row["seconds"] for row in rows) / 60,
        captions=len(texts),
        distinct=len(set(texts)),
        histograms=_histograms(rows, texts),
        words=words.most_common(COMMON_WORDS),
        actions=[(name, s / 60) for name, s in zip(ACTIONS, seconds, strict=True) if s > 0],
        pictures=_pictures(rows, motions),
        shared=_shared(rows),
        flagged=[(row["id"], row["flags"]) for row in rows if row["flags"]],
        rejected=rejected,
    )


def _shared(rows: Sequence[SurveyRow]) -> list[tuple[str, int, int]]:
    """Count, for each split but train, its captioned clips, and those of them with a caption of a training clip."""
    of = {split: [row for row in rows if row["split"] == split] for split in ("train", "val", "test")}
    learnt = {text for row in of["train"] for text in row["texts"]}
    told = {split: [row for row in of[split] if len(row["texts"])] for split in ("val", "test")}
    return [
        (split, len(some), sum(not learnt.isdisjoint(row["texts"]) for row in some))
        for split, some in told.items()
        if some
    ]


def _sources(rows: Sequence[SurveyRow], licences: Mapping[str, str]) -> list[SourceRow]:
    found = []
    for name in dict.fromkeys(row["source"] for row in rows):
        of_it = [row for row in rows if row["source"] == name]
        found.append(
            SourceRow(
                name,
                clips=len(of_it),
                minutes=sum(row["seconds"] for row in of_it) / 60,
                splits=_counted(row["split"] for row in of_it),
                persons=_counted(str(row["persons"]) for row in of_it),
                rates=_counted(row["source_fps"] for row in of_it),
                captions=sum(len(row["texts"]) for row in of_it),
                captioned=sum(bool(row["texts"]) for row in of_it),
                licence=licences.get(name, "said by its reader, which this run was not given"),
            )
        )
    return found


def _counted(values: Iterable[str]) -> str:
    """Summarise values as "20 (801), 30 (3)", or as the value alone if all are equal."""
    counts = Counter(values).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} ({count:,})" for value, count in counts)


def _histograms(rows: Sequence[SurveyRow], texts: Sequence[str]) -> list[Histogram]:
    charts = [
        Histogram.of("Length", "s", [row["seconds"] for row in rows]),
        Histogram.of("Mean speed over the floor", "m/s", [row["speed"] for row in rows]),
        Histogram.of("Lowest pelvis", "m", [row["lowest"] for row in rows]),
        Histogram.of("Persons", "a clip", [row["persons"] for row in rows], whole=True),
        Histogram.of("Captions", "a clip", [len(row["texts"]) for row in rows], whole=True),
    ]
    if texts:
        charts.append(Histogram.of("Words", "a caption", [len(text.split()) for text in texts], whole=True))
    return charts


def _pictures(rows: Sequence[SurveyRow], motions: str) -> list[tuple[str, str]]:
    """Draw a few clips of each source as (id, base64 PNG), the same ones for the same data."""
    rng = np.random.default_rng(0)
    chosen: list[str] = []
    for name in dict.fromkeys(row["source"] for row in rows):
        ids = [row["id"] for row in rows if row["source"] == name]
        chosen += rng.choice(ids, min(PICTURES_PER_SOURCE, len(ids)), replace=False).tolist()
    drawn = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "strip.png"
        for clip in storage.motions_by_id(motions, chosen):
            strip(clip, picture)
            drawn.append((clip.id, base64.b64encode(picture.read_bytes()).decode()))
    return drawn
