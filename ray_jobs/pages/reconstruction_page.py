"""Page about a reconstruction: what was made from which cameras, how good it looks, and the worst of it in pictures.

All is read from the output's motions; nothing here knows the truth. See `recon.pipeline.record.Quality`.
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from motion.parquet import iter_columns
from motion.sequence import MotionSequence
from motion.skeleton import PERSON_CLASSES
from ray_jobs.common.flow import StageUse
from ray_jobs.pages.dataset_card import Histogram
from ray_jobs.pages.page import render_page

TEMPLATE = "reconstruction.html.j2"
WORST = 10
"""Sequences that are shown."""
ERRORS = {
    "reprojection_px": ("Mean distance to the visible keypoints", "px", 1.0),
    "along_m": ("Uncertainty of the distance from the camera", "cm, 1 SD", 100.0),
    "beyond_depth": ("Distance beyond the depth, either way", "%", 100.0),
    "below_floor_m": ("Lowest joint under the floor", "cm", 100.0),
    "room_moved": ("Change of the room by its persons", "SD", 1.0),
}
"""Histograms, by fields of a person's quality: title, unit and factor."""


@dataclass(frozen=True)
class Made:
    """One reconstructed sequence."""

    id: str
    classes: tuple[str, ...]
    """Class of each person who was found."""
    quality: tuple[dict[str, Any], ...]
    """Quality of each annotated person."""
    source: str
    """Marks of persons and floor that it was made from, and depth."""

    @property
    def found(self) -> list[dict[str, Any]]:
        """Quality of the persons who were found."""
        return [row for row in self.quality if row["frames"]]

    @property
    def badness(self) -> tuple[int, float]:
        """Order by which the worst are chosen: number of flags, then the largest misfit."""
        return sum(len(row["flags"]) for row in self.quality), max(row["misfit"] or 0.0 for row in self.quality)


@dataclass(frozen=True)
class Site:
    """Row of the page's table: one camera."""

    name: str
    sequences: int
    persons: int
    flagged: int
    rejected: int


def render(
    motions: str,
    stages: Sequence[StageUse],
    rejected: Sequence[tuple[str, str]],
    picture: Callable[[str], bytes],
) -> str:
    """Render the page of the Parquet folder `motions`.

    `rejected` are (id, reason) pairs, `picture` gives a sequence's contact sheet as JPEG, or nothing.
    """
    sequences = list(read(motions))
    found = [row for each in sequences for row in each.found]
    worst = sorted(sequences, key=lambda each: each.badness, reverse=True)[:WORST]
    return render_page(
        TEMPLATE,
        sequences=len(sequences),
        persons=len(found),
        person_frames=sum(row["frames"] for row in found),
        flagged=sum(bool(row["flags"]) for row in found),
        stages=stages,
        sites=_sites(sequences, [name for name, _ in rejected]),
        classes=Counter(name for each in sequences for name in each.classes).most_common(),
        sources=Counter(each.source for each in sequences).most_common(),
        flags=_flags(row for each in sequences for row in each.quality),
        histograms=list(_histograms(found)),
        worst=[(each.id, _why(each), base64.b64encode(picture(each.id)).decode()) for each in worst],
        rejected=rejected,
    )


def read(motions: str) -> Iterable[Made]:
    """Read what the page needs of each sequence, one by one."""
    for row in iter_columns(MotionSequence, motions, ("id", "person_class", "provenance")):
        classes = tuple(PERSON_CLASSES[code] for code in row["person_class"])
        about = dict(row["provenance"])
        source = f"{about['marks']}, depth {'measured' if about['depth'] == 'measured' else 'by networks'}"
        yield Made(row["id"], classes, tuple(json.loads(about["quality"])), source)


def _sites(sequences: Sequence[Made], rejected: Sequence[str]) -> list[Site]:
    of: dict[str, list[Made]] = {}
    for each in sequences:
        of.setdefault(_camera(each.id), []).append(each)
    lost = Counter(map(_camera, rejected))
    return [
        Site(
            name,
            sequences=len(some := of.get(name, [])),
            persons=sum(len(each.found) for each in some),
            flagged=sum(bool(row["flags"]) for each in some for row in each.found),
            rejected=lost[name],
        )
        for name in sorted(of.keys() | lost.keys())
    ]


def _camera(sequence: str) -> str:
    return " / ".join(sequence.split("/")[:2])


def _flags(quality: Iterable[dict[str, Any]]) -> list[tuple[str, int]]:
    """Count the flags by their words, whatever numbers they hold."""
    return Counter(re.sub(r"[\d.]+%?", "…", flag) for row in quality for flag in row["flags"]).most_common()


def _histograms(found: Sequence[dict[str, Any]]) -> Iterable[Histogram]:
    for name, (title, unit, factor) in ERRORS.items():
        if known := [abs(row[name]) * factor for row in found if row[name] is not None]:
            yield Histogram.of(title, unit, known)


def _why(sequence: Made) -> str:
    flagged = [f"{row['object_id']}: {'; '.join(row['flags'])}" for row in sequence.quality if row["flags"]]
    return " · ".join(flagged) or "no flag"
