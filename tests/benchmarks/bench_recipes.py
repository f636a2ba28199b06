"""Compare `thesis` with `default`, and `default` without each of its choices, on real clips at equal processor time.

    python -m tests.benchmarks.bench_recipes --output build/recipes --minutes 45

Takes the labelled clips of `labelled.py`, trains an evaluator, both recipes at one small size (`recipes_training.py`)
and, for a shorter time, `default` with one field changed at a time; samples and measures (`recipes_measuring.py`), and
writes its sections of results/model.md. Results that lie in the output folder already are not made again.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from motion.errors import command_line
from motion.generator import Generator, load_model
from tests.benchmarks import controls
from tests.benchmarks.labelled import shared_data, write_labelled
from tests.benchmarks.recipes_measuring import Task, heard, make_task, measure, merged_share, own_captions
from tests.benchmarks.recipes_training import small, train
from tests.benchmarks.results_file import write_section

SEEDS = 3
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
MAIN: dict[str, tuple[str, dict[str, Any]]] = {"thesis": ("thesis", {}), "default": ("default", {})}
CHANGES: dict[str, dict[str, Any]] = {
    "step and caption as tokens": {"denoiser__step": "token"},
    "sinusoids of time": {"denoiser__time": "sinusoid"},
    "the rate of thesis": {"optim__learning_rate": small("thesis").optim.learning_rate},
    "no qk-norm": {"denoiser__qk_norm": False},
    "a token a frame": {"denoiser__frames_per_token": 1},
    "no given frames": {"diffusion__known_share": 0.0, "denoiser__editable": False},
    "no dropout of single conditions": {"diffusion__kind_dropout": 0.0},
    "no scenes put together": {"variation__composed": 0.0},
    "and a token a word": {"denoiser__text": "words"},
    "and clips mirrored": {"variation__mirrored": 0.5},
    "and steps weighted by min-SNR": {"diffusion__min_snr": 5.0},
}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "DPM-Solver++(2M), 6 steps": {"num_steps": 6},
    "DPM-Solver++(2M), 10 steps": {"num_steps": 10},
    "DDIM, 8 steps": {"sampler": "ddim", "num_steps": 8},
    "DDIM, 50 steps": {"sampler": "ddim", "num_steps": 50},
    "guidance 1.5": {"guidance_scale": 1.5},
    "guidance 2.5": {"guidance_scale": 2.5},
    "guidance in the first half": {"guidance_stop": 0.5},
    "people not kept apart": {"apart": 0.0},
}
ABLATED = (
    "`default` with one field changed, or added to (and …). One training each, three seeds of sampling: the spread in\n"
    "brackets is not that of trainings. Scenes of several people cost what is asked of one; what they are for, that\n"
    "each does what their own caption says, is hardly learned in so short a time.\n\n"
)


@dataclass(frozen=True)
class BenchConfig:
    output: Path = Path("build/recipes")
    minutes: float = 45
    """Training time of each recipe in minutes of one processor core."""
    ablation_minutes: float = 8
    """Training time of each changed recipe in minutes of one processor core; 0 leaves them out."""


def main(config: BenchConfig) -> None:
    """Train and measure every configuration that the output folder lacks; write the sections of results/model.md."""
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    data, evaluator = output / "data", output / "evaluator"
    if not (data / "card.html").exists():
        sources = write_labelled(shared_data(), output / "files")
        job("prepare", "--output", data, "--max-seconds", 5, "--held-out", 0.2, "--sources", *sources)
    job("train_evaluator", "--data", data, "--output", evaluator, "--steps", EVALUATOR_STEPS)
    runs = {name: (recipe, changes, config.minutes) for name, (recipe, changes) in MAIN.items()}
    if config.ablation_minutes:
        changed = {"default, less time": {}} | CHANGES
        runs |= {name: ("default", changes, config.ablation_minutes) for name, changes in changed.items()}
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning")
    one_run, one_sampling = (ray.remote(num_cpus=1)(function) for function in (run, run_sampling))
    task = make_task(data)
    shared = ray.put(task)
    ray.get([one_run.remote(name, *each, output, shared) for name, each in runs.items()])
    sampled = ray.get([one_sampling.remote(name, output, shared) for name in SAMPLINGS])
    rows = {name: json.loads((output / f"{slug(name)}.json").read_text()) for name in runs}
    write_section("Recipes", header(config) + table({name: rows[name] for name in MAIN}))
    if config.ablation_minutes:
        changed_rows = {name: rows[name] for name in rows if name not in MAIN}
        write_section("What each choice does", header(config) + ABLATED + table(changed_rows))
    samplings = {"its own": rows["default"]} | dict(zip(SAMPLINGS, sampled, strict=True))
    write_section("Sampling", header(config) + table(samplings))
    write_section("Control", header(config) + control(output, task))
    print(json.dumps(rows))


def control(output: Path, task: Task) -> str:
    """Measure control over `default`, as a table."""
    generator = Generator.load(output / "default.safetensors")
    clips = task.alone[:: len(task.alone) // CONTROLLED][:CONTROLLED]
    lines = ["| | |", "|---|---:|"]
    for measured in CONTROLS:
        found = measured(generator, clips)
        lines += [f"| {measured.__name__}: {name} | {value:.3g} |" for name, value in found.items()]
    return "\n".join(lines) + "\n"


def job(name: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", f"ray_jobs.{name}", *map(str, arguments)], check=True)


def run(name: str, recipe: str, changes: dict[str, Any], minutes: float, output: Path, task: Task) -> None:
    """Train and measure one configuration, on one core."""
    torch.set_num_threads(1)
    model, result = output / f"{slug(name)}.safetensors", output / f"{slug(name)}.json"
    trained = output / f"{slug(name)}.training.json"
    if not model.exists():
        made = train(small(recipe, **changes), output / "data", 60 * minutes)
        trained.write_text(json.dumps({name: value for name, value in asdict(made).items() if name != "model"}))
        model.write_bytes(made.model)
    if not result.exists():
        generator = Generator.load(model)
        found = how_it_samples(generator, output, task)
        found |= {"heard": heard(generator, task), "adherence_real": task.accuracy(task.real)}
        result.write_text(json.dumps(found | json.loads(trained.read_text())))


def run_sampling(name: str, output: Path, task: Task) -> dict[str, Any]:
    """Measure the trained `default` with another way of sampling, on one core."""
    torch.set_num_threads(1)
    model = load_model(output / "default.safetensors")
    sampling = replace(model.recipe.sampling, **SAMPLINGS[name])
    generator = Generator(replace(model, recipe=replace(model.recipe, sampling=sampling)))
    return how_it_samples(generator, output, task)


def how_it_samples(generator: Generator, output: Path, task: Task) -> dict[str, Any]:
    """Measure the quality of `default`'s motions: whether several persons stay apart and follow their own captions."""
    found: dict[str, Any] = measure(generator, task, output / "evaluator" / "evaluator.safetensors", SEEDS)
    found |= {f"merged_{n}": merged_share(generator, task, n, CROWD_PROMPTS) for n in CROWDS}
    return found | {"own_captions": own_captions(generator, task, CROWDS[0], CROWD_PROMPTS)}


def slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


def header(config: BenchConfig) -> str:
    machine = f"{os.cpu_count()} cores {platform.machine()}, torch {torch.__version__}, no GPU"
    return (
        f"{date.today()}, {machine}; `python -m tests.benchmarks.bench_recipes --minutes {config.minutes:g} "
        f"--ablation-minutes {config.ablation_minutes:g}`: processor time of one core for each training.\n\n"
    )


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "adherence": ("adherence", spread),
    "frechet": ("Fréchet", spread),
    "heard": ("captions heard", lambda value: f"{value:.2f}"),
    "own_captions": ("3 people, own captions", lambda value: f"{value:.2f}"),
    "motions_per_s": ("motions/s", lambda values: f"{np.mean(values):.2f}"),
    "merged_3": ("merged, 3 people", lambda value: f"{value:.3f}"),
    "merged_4": ("merged, 4 people", lambda value: f"{value:.3f}"),
    "steps": ("steps", lambda value: str(value)),
    "cpu_seconds": ("min", lambda value: f"{value / 60:.1f}"),
    "parameters": ("parameters", lambda value: f"{value / 1e6:.1f} M"),
}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Format the columns that all rows have."""
    columns = {key: column for key, column in COLUMNS.items() if all(key in row for row in rows.values())}
    lines = [f"| | {' | '.join(title for title, _ in columns.values())} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(show(row[key]) for key, (_, show) in columns.items())} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    command_line.run(main, BenchConfig, __doc__)
