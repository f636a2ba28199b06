"""Measure what a split tells: `python -m tests.benchmarks splits` writes results/splits.md.

The labelled clips beside the repo (`labelled.py`) are held out by file and by style; on each split an evaluator is
trained and finds the held-out clips by their captions, beside an untrained judge, the nearest training clip. Where that
judge finds much, a test measures how well what was seen is recalled. All through the jobs, as a user would start them.
"""

import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from motion.sequence import MotionSequence, read_motions
from tests.benchmarks.bench_evaluation import POOL, Jobs, evaluation, write_set
from tests.benchmarks.labelled import STYLE_PATTERNS, shared_data, write_labelled
from tests.benchmarks.nearest_neighbour import r_precision_of_nearest
from tests.benchmarks.results_file import cores

RESULTS = Path(__file__).parent / "results" / "splits.md"
SPLITS: dict[str, tuple[str, ...]] = {"file": (), "style": ("--name-pattern", *STYLE_PATTERNS)}
TOP = (1, 3)
HEAD = (
    "held out by",
    "clips",
    "captions also trained on",
    *(f"{who} top-{k}" for who in ("evaluator", "nearest") for k in TOP),
)


@dataclass(frozen=True)
class Row:
    """Findings on one split."""

    clips: int
    shared: float
    """Share of the held-out clips whose first caption a training clip has, too."""
    found: dict[str, Any]
    """The evaluator's metrics of the held-out clips."""
    nearest: list[float]
    """R-precision of the nearest training clip, top 1 to 3."""

    def cells(self) -> list[str]:
        """Format the row."""
        evaluator = [self.found[f"r_precision_{k}"] for k in TOP]
        return [
            str(self.clips),
            f"{self.shared:.0%}",
            *(f"{each['mean']:.3f} ± {each['interval']:.3f}" for each in evaluator),
            *(f"{self.nearest[k - 1]:.3f}" for k in TOP),
        ]


def main() -> None:
    """Measure each split and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        sources = write_labelled(shared_data(), Path(folder) / "files")
        rows = {by: measure(Jobs(Path(folder) / by, []), by, sources) for by in SPLITS}
    lines = [
        " | ".join(HEAD),
        "---|---:|---:|---:|---:|---:|---:",
        *(" | ".join([by, *row.cells()]) for by, row in rows.items()),
    ]
    RESULTS.write_text(f"# What a split tells\n\n{conditions()}\n" + "\n".join(f"| {line} |" for line in lines) + "\n")


def measure(jobs: Jobs, by: str, sources: tuple[str, ...]) -> Row:
    """Prepare the clips by this split, train an evaluator, and let both judges find the held-out clips."""
    data = ("--output", jobs.folder / "data", "--max-seconds", 5, "--held-out", 0.2, "--held-out-by", by)
    jobs.run("prepare", *data, "--sources", *sources, *SPLITS[by])
    jobs.run("train_evaluator", "--data", jobs.folder / "data", "--output", jobs.folder / "evaluator")
    clips = [clip for clip in read_motions(jobs.folder / "data" / "motions") if clip.texts]
    tested, trained = ([clip for clip in clips if clip.split == split] for split in ("test", "train"))
    write_set(jobs.folder / "held-out", tested)
    found = evaluation(jobs, "found", ["held-out"], "--no-memorisation")["sets"][0]["metrics"]
    return Row(len(tested), shared(tested, trained), found, list(r_precision_of_nearest(tested, trained, POOL)))


def shared(tested: list[MotionSequence], trained: list[MotionSequence]) -> float:
    """Compute the share of `tested` whose first caption is one of `trained`."""
    learnt = {text for clip in trained for text in clip.texts}
    return sum(clip.texts[0] in learnt for clip in tested) / len(tested)


def conditions() -> str:
    machine = f"{cores()}, torch {torch.__version__}, no GPU"
    chance = " and ".join(f"{k / POOL:.3f}" for k in TOP)
    return (
        f"{date.today()}, {machine}; `python -m tests.benchmarks splits`. Clips and captions:\n"
        f"tests/benchmarks/labelled.py. R-precision of held-out real clips in pools of {POOL} ({chance} by chance);\n"
        "an evaluator is trained once for each split. Nearest: an untrained judge, to which a clip is as far from a\n"
        "text as from the nearest training clip that has this text. Groups of styles: Bandai-Namco's styles, CMU's\n"
        "train and test side, the salsa couple, each clip of DeepMimic.\n"
    )


if __name__ == "__main__":
    main()
