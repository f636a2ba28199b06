"""Measure the evaluation on real motion: `python -m tests.benchmarks evaluation` writes results/evaluation.md.

An evaluator is trained on the labelled clips beside the repo (`labelled.py`) and judges clips that were held out: as
they are, with noise on their joints, and with their captions shuffled. Then it compares two checkpoints of one run of
the motion model. All through the jobs, as a user would start them.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from motion.metrics.measure import Measure
from motion.parquet import write_parquet
from motion.sequence import MotionSequence, read_motions
from ray_jobs.common.evaluation import Evaluation
from ray_jobs.pages.evaluation_page import table
from tests.benchmarks.labelled import shared_data, write_labelled
from tests.benchmarks.results_file import cores

REPO = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "evaluation.md"
NOISES = (0, 2, 5, 10, 20)  # cm, the standard deviation of each coordinate of each joint in each frame
POOL = 32
PROTOCOL = ("--diversity-pairs", "200")  # of the 279 held-out clips
STEPS, EARLY = 2400, 300


@dataclass
class Jobs:
    """Runner of jobs in one folder, which notes the time each took."""

    folder: Path
    seconds: list[tuple[str, float]]

    def run(self, job: str, *arguments: object) -> None:
        words = [f"ray_jobs.{job}", *map(str, arguments)]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", *words], cwd=REPO, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        seconds = time.perf_counter() - start
        said = re.sub(rf"{self.folder}/?", "", "python -m " + " ".join(words))
        self.seconds.append((said.replace(str(shared_data()), "../shared/data"), seconds))


def main() -> None:
    """Train an evaluator on labelled data, measure both questions, and write what they cost beside the results."""
    with tempfile.TemporaryDirectory() as folder:
        measure(Jobs(Path(folder), []))


def measure(jobs: Jobs) -> None:
    """Train an evaluator on labelled data, run both measurements, and append the time that each job took."""
    sources = write_labelled(shared_data(), jobs.folder / "files")
    prepare = ("--output", jobs.folder / "data", "--max-seconds", 5, "--held-out", 0.2, "--sources", *sources)
    jobs.run("prepare", *prepare)
    jobs.run("train_evaluator", "--data", jobs.folder / "data", "--output", jobs.folder / "evaluator")
    RESULTS.write_text("# The evaluation on real motion\n\n" + conditions())
    find_held_out_clips(jobs)
    compare_checkpoints(jobs)
    rows = "\n".join(f"| `{command}` | {seconds:.0f} |" for command, seconds in jobs.seconds)
    append("What it took", f"| command | seconds |\n|---|---:|\n{rows}\n")


def conditions() -> str:
    machine = f"{cores()}, torch {torch.__version__}"
    command = "`python -m tests.benchmarks evaluation`"
    return f"{date.today()}, {machine}, no GPU; {command}. Clips and captions: tests/benchmarks/labelled.py.\n"


def append(title: str, text: str) -> None:
    with RESULTS.open("a") as file:
        file.write(f"\n## {title}\n\n{text}")


def evaluation(jobs: Jobs, name: str, sets: Sequence[str], *others: str) -> Evaluation:
    """Evaluate these sets, NAME for a folder of that name, against the held-out clips."""
    output = jobs.folder / name
    evaluator = jobs.folder / "evaluator" / "evaluator.safetensors"
    folders = [f"{each}:{jobs.folder / each}" for each in sets]
    data = ("--real", jobs.folder / "data", "--evaluator", evaluator, "--output", output)
    jobs.run("evaluate", *data, "--generated", *folders, *PROTOCOL, *others)
    content = json.loads((output / "evaluation.json").read_text())
    return content | {"measures": {key: Measure(**measure) for key, measure in content["measures"].items()}}


def write_set(folder: Path, clips: Sequence[MotionSequence]) -> None:
    write_parquet(clips, folder / "motions" / "0.parquet")


def noisy(clip: MotionSequence, metres: float, rng: np.random.Generator) -> MotionSequence:
    noise = metres * rng.standard_normal(clip.joints.shape).astype(np.float32)
    return replace(clip, joints=clip.joints + noise)


def metric(evaluation: Evaluation, name: str, part: Literal["mean", "interval"] = "mean") -> list[float]:
    """Take the means of all sets but the real clips, or the half-widths of their 95 % intervals."""
    return [each["metrics"][name][part] for each in evaluation["sets"][1:]]


def find_held_out_clips(jobs: Jobs) -> None:
    """Evaluate held-out clips with noise on their joints, and with shuffled captions."""
    rng = np.random.default_rng(0)
    clips = [clip for clip in read_motions(jobs.folder / "data" / "motions") if clip.split == "test"]
    names = [f"noise-{centimetres:02}cm" for centimetres in NOISES]
    for name, centimetres in zip(names, NOISES, strict=True):
        write_set(jobs.folder / name, [noisy(clip, centimetres / 100, rng) for clip in clips])
    texts = [clips[place].texts for place in rng.permutation(len(clips))]
    write_set(
        jobs.folder / "shuffled-captions", [replace(clip, texts=text) for clip, text in zip(clips, texts, strict=True)]
    )
    found = evaluation(jobs, "noise", [*names, "shuffled-captions"], "--no-memorisation")
    append(
        "Held-out clips, with noise on their joints, and with shuffled captions",
        f"{len(clips)} clips; by chance a pool of {POOL} gives {1 / POOL:.3f}, {2 / POOL:.3f} and {3 / POOL:.3f}.\n\n"
        f"{table(found)}",
    )
    real, shuffled = found["sets"][0]["metrics"], found["sets"][-1]["metrics"]
    assert real["r_precision_3"]["mean"] >= 0.6
    assert abs(shuffled["r_precision_3"]["mean"] - 3 / POOL) < 0.03
    for name, worse in (("fid", 1), ("mm_dist", 1), ("r_precision_1", -1), ("r_precision_3", -1)):
        values, sure = worse * np.array(metric(found, name)[:-1]), np.array(metric(found, name, "interval")[:-1])
        # 2 cm of noise cost nothing that shows where 98 % are found.
        assert (np.diff(values) > -sure[1:] - sure[:-1]).all(), f"{name} of growing noise: {values}"
        assert (np.diff(values[1:]) > 0).all(), f"{name} of growing noise: {values}"


def compare_checkpoints(jobs: Jobs) -> None:
    """Train the motion model, generate with an early and the last checkpoint, and evaluate both."""
    recipe = {
        "max-persons": 2,
        "max-frames": 100,
        "optim.steps": STEPS,
    }
    changes = [word for name, value in recipe.items() for word in (f"--recipe.{name}", str(value))]
    run = jobs.folder / "run"
    kept = ("--checkpoint-every", EARLY, "--keep-checkpoints", STEPS // EARLY)
    jobs.run("train", "tiny", "--data", jobs.folder / "data", "--output", run, *kept, *changes)
    models = {"early": run / "train" / f"step-{EARLY:07}" / "model.safetensors", "late": run / "model.safetensors"}
    for name, model in models.items():
        asked = ("--prompts", jobs.folder / "data", "--samples-per-prompt", 2, "--output", jobs.folder / name)
        jobs.run("generate", "--model", model, *asked)
    found = evaluation(jobs, "checkpoints", list(models))
    append(
        f"Two checkpoints of one run: step {EARLY} and step {STEPS} of `tiny`",
        f"Two motions for the first caption of each held-out clip, at its length.\n\n{table(found)}",
    )
    for name, better in (("fid", -1), ("mm_dist", -1), ("r_precision_1", 1), ("r_precision_3", 1)):
        early, late = (better * value for value in metric(found, name))
        assert late > early, f"{name}: early {early}, late {late}"


if __name__ == "__main__":
    main()
