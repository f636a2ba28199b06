"""Compare `thesis` with `default`, and `default` without each of its choices, on real clips at equal processor time.

    python -m tests.benchmarks.bench_recipes --output build/recipes --minutes 30

Takes the labelled clips of `labelled.py`, held out by style, trains an evaluator, and trains both recipes at one small
size (`recipes_training.py`): at three learning rates each for a short time, then three times at the one that is best on
the validation split. Measures those on the test split (`recipes_measuring.py`). What else chooses a recipe is measured
on the validation split: `default` with one field changed at a time, and its other ways of sampling. Writes its sections
of results/model.md. Results that lie in the output folder already are not made again.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from motion.errors import command_line
from motion.generator import Generator, Model, load_model
from motion.recipes import Recipe
from tests.benchmarks import controls
from tests.benchmarks.labelled import STYLE_PATTERNS, shared_data, write_labelled
from tests.benchmarks.recipes_measuring import (
    Task,
    heard,
    make_tasks,
    measure,
    merged_share,
    own_captions,
    sampled_by,
)
from tests.benchmarks.recipes_training import small, train
from tests.benchmarks.results_file import cores, write_section

SEEDS = 3
"""Seeds of sampling."""
TRAININGS = 3
COMPARED = ("thesis", "default")
RATES = (1 / 3, 1, 3)
"""Learning rates that are tried, as factors of the recipe's own at this size."""
EVALUATOR_STEPS = 300
CROWDS, CROWD_PROMPTS = (3, 4), 16
CONTROLLED = 8  # held-out clips for each kind of control
CONTROLS = (
    controls.keypoint_guidance,
    controls.trajectory_guidance,
    controls.penetration_guidance,
    controls.seams,
    controls.reactions,
)
CHANGES: dict[str, dict[str, Any]] = {
    "step and caption as tokens": {"denoiser__step": "token"},
    "sinusoids of time": {"denoiser__time": "sinusoid"},
    "no qk-norm": {"denoiser__qk_norm": False},
    "a token a frame": {"denoiser__frames_per_token": 1},
    "no given frames": {"diffusion__known_share": 0.0, "denoiser__editable": False},
    "no dropout of single conditions": {"diffusion__kind_dropout": 0.0},
    "no scenes put together": {"variation__composed": 0.0},
    "and a token a word": {"denoiser__text": "words"},
    "and clips mirrored": {"variation__mirrored": 0.5},
    "and steps weighted by min-SNR": {"diffusion__min_snr": 5.0},
}
SAMPLINGS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {
        "DPM-Solver++(2M), 6 steps": {"num_steps": 6},
        "DPM-Solver++(2M), 10 steps": {"num_steps": 10},
        "DDIM, 8 steps": {"sampler": "ddim", "num_steps": 8},
        "DDIM, 50 steps": {"sampler": "ddim", "num_steps": 50},
        "guidance 1.5 in the first half": {"guidance_scale": 1.5},
        "guidance 2.5 in the first half": {"guidance_scale": 2.5},
        "guidance 1.5 to the end": {"guidance_scale": 1.5, "guidance_stop": 1.0},
        "guidance 2.5 to the end": {"guidance_scale": 2.5, "guidance_stop": 1.0},
        "guidance 3.5 to the end": {"guidance_stop": 1.0},
    },
    "thesis": {"guidance 3.5 in the first half": {"guidance_stop": 0.5}},
}
"""Other ways of sampling than its own, by recipe."""
ABLATED = """\
`default` with one field changed, or added to (and …), on the validation split. One training each, three seeds of
sampling: the spread in brackets is not that of trainings. Scenes of several people cost what is asked of one; what
they are for, that each does what their own caption says, is hardly learned in so short a time.

"""
MEASURED = """\
Means over three trainings, least and greatest of them in brackets, on the test split: styles that were not trained on.
Three seeds of sampling each. Nearest: median distance of the samples from the training clip nearest to each. Merged:
share of frames with two pelvises in one place, without the sampler's rule that keeps people apart.

"""
TUNED = """\
On the validation split; one training each, the spread is that of three seeds of sampling. The least Fréchet wins.

"""
SAMPLED = """\
Means over the three trainings of each recipe, least and greatest in brackets, on the validation split.

"""


@dataclass(frozen=True)
class BenchConfig:
    output: Path = Path("build/recipes")
    minutes: float = 30
    """Time of each of the three trainings of a recipe in minutes of one processor core."""
    tuning_minutes: float = 6
    """Time of the training at each learning rate in minutes of one processor core."""
    ablation_minutes: float = 4
    """Time of each changed recipe in minutes of one processor core; 0 leaves them out."""


@dataclass(frozen=True)
class Training:
    """Training of a recipe, and the split on which it is measured."""

    name: str
    recipe: str
    minutes: float
    split: str
    changes: dict[str, Any] = field(default_factory=dict)
    seed: int = 0


def main(config: BenchConfig) -> None:
    """Train and measure every configuration that the output folder lacks; write the sections of results/model.md."""
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    data = output / "data"
    if not (data / "card.html").exists():
        sources = write_labelled(shared_data(), output / "files")
        split = ("--held-out", 0.2, "--validation", 0.15, "--held-out-by", "style", "--name-pattern", *STYLE_PATTERNS)
        job("prepare", "--output", data, "--max-seconds", 5, "--sources", *sources, *split)
    job("train_evaluator", "--data", data, "--output", output / "evaluator", "--steps", EVALUATOR_STEPS)
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning")
    tasks = make_tasks(data)
    shared = ray.put(tasks)

    def measured(trainings: Sequence[Training]) -> list[dict[str, Any]]:
        remote = ray.remote(num_cpus=1)(run)
        return ray.get([remote.remote(each, output, shared) for each in trainings])

    trials = {recipe: tuning(recipe, config.tuning_minutes) for recipe in COMPARED}
    tried = {recipe: measured(trainings) for recipe, trainings in trials.items()}
    rows = {each.name: row for recipe in COMPARED for each, row in zip(trials[recipe], tried[recipe], strict=True)}
    write_section("Learning rates", header(config) + TUNED + table(rows))
    best = {recipe: trials[recipe][least_frechet(tried[recipe])].changes for recipe in COMPARED}
    finals = {recipe: repeated(recipe, config.minutes, best[recipe]) for recipe in COMPARED}
    made = measured([each for trainings in finals.values() for each in trainings])
    rows = {recipe: over(made[i * TRAININGS : (i + 1) * TRAININGS]) for i, recipe in enumerate(COMPARED)}
    write_section("Recipes", header(config) + MEASURED + table(rows))
    rows = {name: row for recipe in COMPARED for name, row in samplings(finals[recipe], output, shared).items()}
    write_section("Sampling", header(config) + SAMPLED + table(rows))
    write_section("Control", header(config) + control(trained(finals["default"][0], output), tasks["test"]))
    if config.ablation_minutes:
        changed = [
            Training(name, "default", config.ablation_minutes, "val", best["default"] | changes)
            for name, changes in ({"default, less time": {}} | CHANGES).items()
        ]
        rows = {each.name: row for each, row in zip(changed, measured(changed), strict=True)}
        write_section("What each choice does", header(config) + ABLATED + table(rows))


def tuning(recipe: str, minutes: float) -> list[Training]:
    """List the trainings that find a recipe's learning rate."""
    rates = [factor * small(recipe).optim.learning_rate for factor in RATES]
    return [
        Training(f"{recipe} at {rate:.2g}", recipe, minutes, "val", {"optim__learning_rate": rate}) for rate in rates
    ]


def least_frechet(rows: Sequence[Mapping[str, Any]]) -> int:
    return int(np.argmin([np.mean(row["frechet"]) for row in rows]))


def repeated(recipe: str, minutes: float, changes: dict[str, Any]) -> list[Training]:
    """List the trainings whose spread is that of a recipe."""
    return [Training(f"{recipe} {seed}", recipe, minutes, "test", changes, seed) for seed in range(TRAININGS)]


def over(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gather the rows of several trainings: one value for each, the mean over seeds of sampling where there are any."""
    return {key: [float(np.mean(row[key])) for row in rows] for key in rows[0] if all(key in row for row in rows)}


def samplings(trainings: Sequence[Training], output: Path, tasks: Any) -> dict[str, dict[str, Any]]:
    """Measure a recipe's trainings with its own and other ways of sampling, on the validation split."""
    recipe = trainings[0].recipe
    ways: dict[str, dict[str, Any]] = {"its own": {}} | SAMPLINGS[recipe]
    remote = ray.remote(num_cpus=1)(run_sampling)
    waiting = [remote.remote(training, changes, output, tasks) for changes in ways.values() for training in trainings]
    found = iter(ray.get(waiting))
    return {f"{recipe}, {way}": over([next(found) for _ in trainings]) for way in ways}


def control(model: Model, task: Task) -> str:
    """Measure control over one training of `default`, as a table."""
    generator = Generator(model)
    clips = task.alone[:: max(len(task.alone) // CONTROLLED, 1)][:CONTROLLED]
    lines = ["| | |", "|---|---:|"]
    for measured in CONTROLS:
        found = measured(generator, clips)
        lines += [f"| {measured.__name__}: {name} | {value:.3g} |" for name, value in found.items()]
    return "\n".join(lines) + "\n"


def job(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", f"ray_jobs.{name}", *map(str, arguments)], check=True)


def run(training: Training, output: Path, tasks: dict[str, Task]) -> dict[str, Any]:
    """Train and measure one configuration, on one core, unless its result lies there."""
    torch.set_num_threads(1)
    endings = ("safetensors", f"{sampled_as(training)}.json", "training.json")
    model, result, made = (file(training, output, end) for end in endings)
    recipe = configured(training)
    if not model.exists():
        made_now = train(recipe, output / "data", 60 * training.minutes, training.seed)
        made.write_text(json.dumps({name: value for name, value in asdict(made_now).items() if name != "model"}))
        model.write_bytes(made_now.model)
    if not result.exists():
        task, loaded = tasks[training.split], trained(training, output)
        found = how_it_samples(loaded, output, task) | {"heard": heard(sampled_by(loaded), task)}
        found |= {f"merged_{n}": merged_share(loaded, task, n, CROWD_PROMPTS) for n in CROWDS}
        if recipe.variation.composed:  # else no scene has taught it that people do different things
            found["own_captions"] = own_captions(sampled_by(loaded), task, CROWDS[0], CROWD_PROMPTS)
        result.write_text(json.dumps(found | json.loads(made.read_text())))
    found = json.loads(result.read_text())
    return found | {"learning_rate": recipe.optim.learning_rate}


def run_sampling(training: Training, changes: dict[str, Any], output: Path, tasks: dict[str, Task]) -> dict[str, Any]:
    """Measure a trained model with another way of sampling, on one core, unless the result lies there."""
    torch.set_num_threads(1)
    result = file(training, output, f"{sampled_as(training, **changes)}.val.json")
    if not result.exists():
        found = how_it_samples(trained(training, output), output, tasks["val"], **changes)
        result.write_text(json.dumps(found))
    return dict(json.loads(result.read_text()))


def configured(training: Training) -> Recipe:
    return small(training.recipe, **training.changes)


def sampled_as(training: Training, **changes: Any) -> str:
    """Name a way of sampling by its settings, so that a result is not taken for that of other settings."""
    values = asdict(replace(configured(training).sampling, **changes)).values()
    return "-".join(value if isinstance(value, str) else f"{value:g}" for value in values)


def trained(training: Training, output: Path) -> Model:
    """Load a model that was trained; it samples as its recipe says now, not as when it was trained."""
    model = load_model(file(training, output, "safetensors"))
    return replace(model, recipe=replace(model.recipe, sampling=configured(training).sampling))


def file(training: Training, output: Path, ending: str) -> Path:
    """Name a file of a training, so that one of another rate or length is not taken for it."""
    rate = configured(training).optim.learning_rate
    return output / f"{slug(training.name)}.{rate:.2g}.{training.minutes:g}min.{ending}"


def how_it_samples(model: Model, output: Path, task: Task, **changes: Any) -> dict[str, Any]:
    """Measure the quality of a model's motions, sampled as its recipe says but for `changes`."""
    return measure(sampled_by(model, **changes), task, output / "evaluator" / "evaluator.safetensors", SEEDS)


def slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def header(config: BenchConfig) -> str:
    machine = f"{cores()}, torch {torch.__version__}, no GPU"
    return (
        f"{date.today()}, {machine}; `python -m tests.benchmarks.bench_recipes --minutes {config.minutes:g} "
        f"--tuning-minutes {config.tuning_minutes:g} --ablation-minutes {config.ablation_minutes:g}`: processor time "
        "of one core for each training.\n\n"
    )


def spread(values: Any, digits: int) -> str:
    """Format one value, or the mean of several with the least and the greatest."""
    each = np.atleast_1d(values)
    mean = f"{each.mean():.{digits}f}"
    return mean if len(each) == 1 else f"{mean} ({each.min():.{digits}f} to {each.max():.{digits}f})"


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "adherence": ("adherence", lambda values: spread(values, 3)),
    "frechet": ("Fréchet", lambda values: spread(values, 3)),
    "nearest_m": ("nearest, m", lambda values: spread(values, 3)),
    "heard": ("captions heard", lambda values: spread(values, 2)),
    "own_captions": ("3 people, own captions", lambda values: spread(values, 2)),
    "motions_per_s": ("motions/s", lambda values: f"{np.mean(values):.2f}"),
    "merged_3": ("merged, 3 people", lambda values: spread(values, 3)),
    "merged_4": ("merged, 4 people", lambda values: spread(values, 3)),
    "learning_rate": ("learning rate", lambda values: f"{np.mean(values):.2g}"),
    "steps": ("steps", lambda values: f"{np.mean(values):.0f}"),
    "cpu_seconds": ("min", lambda values: f"{np.mean(values) / 60:.1f}"),
    "parameters": ("parameters", lambda values: f"{np.mean(values) / 1e6:.1f} M"),
}


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Format rows, with a dash where one lacks what others have."""
    columns = {key: column for key, column in COLUMNS.items() if any(key in row for row in rows.values())}
    lines = [f"| | {' | '.join(title for title, _ in columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        cells = [show(row[key]) if key in row else "–" for key, (_, show) in columns.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main, BenchConfig, __doc__)
