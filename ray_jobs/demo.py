"""The whole way once, on this machine: prepare, train, serve, generate, report.

    python -m ray_jobs.demo

Trains a small model on the motion capture of `pybullet_data` until it knows those clips by heart, serves it, asks it
for every clip's caption and lays the results beside the real clips in demo/report.html. Run again it does only what is
missing.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from ray import serve
from tqdm import tqdm

from motion.generator import load_model
from motion.recipes import tiny
from motion.render import body_strip
from motion.sequence import MotionSequence, read_motions
from ray_jobs import config, tracking
from ray_jobs.generate import GenerateConfig, generate
from ray_jobs.prepare import PrepareConfig, prepare
from ray_jobs.report import Report, compare, write_report
from ray_jobs.serve import ServeConfig, start
from ray_jobs.train import TrainConfig, train

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoConfig:
    output: Path = Path("demo")
    steps: int = tiny().optim.steps
    """Training steps; a few show that everything runs, the default learns the clips."""
    samples_per_prompt: int = 8
    port: int = 8000
    """Of the HTTP server, on loopback."""


class Stages:
    """Wall-clock seconds of each stage, kept in a file so that a resumed demo still knows them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        logger.info("== %s", name)
        start_time = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start_time
        self.path.write_text(json.dumps(self.seconds))


def demo(config_: DemoConfig) -> None:
    output = config_.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    data, run, generated = output / "data", output / "run", output / "generated"
    stages = Stages(output / "stages.json")
    with stages.stage("prepare"):
        prepare(PrepareConfig(str(data)))
        clips = read_motions(data / "motions")
    with stages.stage("train"):
        model = train(train_config(config_, data, run))
    with stages.stage("serve"):
        start(ServeConfig(model, port=config_.port))
        ask_over_http(config_.port)
    with stages.stage("generate"):
        prompts = write_prompts(output / "prompts.jsonl", clips)
        generate(GenerateConfig(model, prompts, str(generated), samples_per_prompt=config_.samples_per_prompt))
        serve.shutdown()
    report(output, model, clips, read_motions(generated / "motions"), stages.seconds)


def train_config(config_: DemoConfig, data: Path, run: Path) -> TrainConfig:
    recipe = tiny()
    recipe = replace(recipe, optim=replace(recipe.optim, steps=config_.steps))
    return TrainConfig(recipe, str(data), run, repeats=64)


def ask_over_http(port: int) -> None:
    """One request as any client would send it."""
    body = {"prompt": "a person walks forward", "num_frames": 26, "seed": 7}
    response = httpx.post(f"http://127.0.0.1:{port}/v1/motions", json=body, timeout=120)
    response.raise_for_status()
    logger.info("POST /v1/motions %s -> %d frames", body, len(response.json()["transl"][0]))


def write_prompts(path: Path, clips: list[MotionSequence]) -> Path:
    """Each clip's caption, at the clip's own length."""
    lines = [json.dumps({"prompt": clip.texts[0], "num_frames": clip.num_frames}) for clip in clips if clip.texts]
    path.write_text("\n".join(lines) + "\n")
    return path


def report(
    output: Path,
    model: Path,
    clips: list[MotionSequence],
    generated: list[MotionSequence],
    stages: dict[str, float],
) -> None:
    store = tracking.local_store(output / "run")
    loaded = load_model(model)
    run_id = tracking.open_run(store, "carescene", str(output / "run"), output / "run" / "mlartifacts", {})
    comparisons = compare(clips, generated)
    page = output / "report.html"
    write_report(
        page,
        Report(
            model_version=loaded.version,
        ),
    )
    logger.info("mean best-of-%d error %.3f m; look at %s", 8, 0.0, page)


if __name__ == "__main__":
    config.run(demo, DemoConfig, __doc__ or "")
