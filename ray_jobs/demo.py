"""Demo of the whole way on this machine: rooms, reconstruct, prepare, train, serve, generate, report.

    python -m ray_jobs.demo

Renders some care rooms as annotated video and reconstructs them; trains a small model on those persons and on the
motion capture of `pybullet_data` until it knows the clips by heart, serves it, asks it for every clip's caption and
shows the results beside the real clips in demo/report.html. Run again it does only what is missing.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path

import httpx
import ray
from PIL import Image
from tqdm import trange

from motion.body import load_body
from motion.errors import InputError
from motion.errors.numbers import at_least, between, check_numbers
from motion.generator import load_model
from motion.recipes import tiny
from motion.render import body_strip
from motion.sequence import MotionSequence, read_motions
from motion.skeleton import KEYPOINT_SETS
from ray_jobs.common import cli, tracking
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import settle
from ray_jobs.common.sampler import check_free, check_http
from ray_jobs.generate import GenerateConfig, generate, like
from ray_jobs.pages.demo_report import Comparison, Report, compare, mean_best_error, write_report
from ray_jobs.prepare import PrepareConfig, prepare
from ray_jobs.reconstruct import ReconstructConfig, reconstruct, sheet_uri
from ray_jobs.serve import ServeConfig, serving
from ray_jobs.train import TrainConfig, train
from recon.simulate import CLEAN, SimulateConfig, simulate, write

WALK = "a person walks forward"

OTHER_WORDS = {
    "backflip": "somebody makes a backwards somersault in the air",
    "cartwheel": "an athlete does a cartwheel",
    "crawl": "someone creeps over the floor on elbows and knees",
    "dance_a": "a dancer turns to the right with arms spread",
    "dance_b": "a man hops about, dancing on one spot",
    "getup_facedown": "someone lying face down gets to their feet",
    "getup_faceup": "someone lying face up gets to their feet",
    "jump": "a man crouches down and jumps ahead",
    "kick": "a man kicks up high with his right leg",
    "punch": "a fighter punches with the right hand",
    "roll": "a woman does a roll forward on the ground",
    "run": "a man is running",
    "spin": "an acrobat leaps and whirls around in mid-air, lying level",
    "spinkick": "a fighter jumps around and kicks",
    "walk": "a woman walks",
}
"""Prompts for DeepMimic's clips that are none of their captions (`motion.datasets.deepmimic`)."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo."""

    output: str = "demo"
    """Folder of everything that the demo makes; delete it to start afresh."""
    steps: int = tiny().optim.steps
    """Training steps; a few show that everything runs, the default learns the clips."""
    rooms: int = 4
    """Number of rendered sequences of one person, 10 s each."""
    samples_per_prompt: int = 8
    """Motions that are generated for each caption, with rising seeds."""
    port: int = 8000
    """Port of the HTTP server, on loopback."""

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("steps", "rooms", "samples_per_prompt"), at_least(1))
        check_numbers(self, {**counts, "port": between(1, 65535)})
        settle(self)
        if "://" in self.output:
            raise InputError(f"output is {self.output}, expected a folder: the demo's page shows what lies beside it")


class Stages:
    """Wall-clock seconds of each stage, kept in a file so that a resumed demo still knows them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.seconds: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except ValueError as error:
            raise InputError(f"{path} is damaged, expected seconds by stage; delete it") from error

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, added to what earlier runs of it took."""
        logger.info("== %s", name)
        start_time = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start_time
        self.path.write_text(json.dumps(self.seconds), encoding="utf-8")


@writes_output
def demo(config: DemoConfig) -> None:
    """Run all stages; each does only what is missing."""
    check_http(("127.0.0.1", config.port))  # now rather than after the training
    check_free(ServeConfig.name, ServeConfig.route_prefix)
    output = Path(config.output)
    rooms, data, run = (output / name for name in ("reconstructed", "data", "run"))
    stages = Stages(output / "stages.json")
    with stages.stage("rooms"):
        render(output / "rooms", config.rooms)
    with stages.stage("reconstruct"):
        reconstruct(ReconstructConfig(str(output / "rooms"), str(rooms)))
    with stages.stage("prepare"):
        prepare(PrepareConfig(str(data), ("deepmimic", f"teton:{rooms}")))
        clips = [clip for clip in read_motions(data / "motions") if clip.source == "deepmimic"]
        asked = {"generated": clips, "other-words": [in_other_words(clip) for clip in clips]}
    ray.shutdown()  # idle workers would keep some 2 GiB of networks and body models
    cli.connect()
    with stages.stage("train"):
        model = train(train_config(config, data, run))
    with ExitStack() as until_generated:
        with stages.stage("serve"):
            until_generated.enter_context(serving(ServeConfig(model, port=config.port, num_cpus=2)))
            ask_over_http(config.port)
        with stages.stage("generate"):
            for name, wanted in asked.items():
                prompts, made = write_prompts(output / f"{name}.jsonl", wanted), output / name
                generate(GenerateConfig(model, str(prompts), str(made), samples_per_prompt=config.samples_per_prompt))
    with stages.stage("picture"):
        comparisons, others = (compare(wanted, samples_of(model, output / name)) for name, wanted in asked.items())
        walk = next(row for row in comparisons if row.caption == WALK)
        body_strip(walk.samples[walk.best], load_body(), output / "walk.png")
    pictures = {
        f"{motion.texts[0]} ({motion.id})": picture(rooms, motion) for motion in read_motions(rooms / "motions")
    }
    write_report(output / "report.html", gather(output, model, comparisons, others, stages.seconds, pictures))
    error = mean_best_error(comparisons)
    logger.info("mean over captions of the best of %d: %.3f m", config.samples_per_prompt, error)
    logger.info("look at %s", output / "report.html")


def samples_of(model: str, generated: Path) -> list[MotionSequence]:
    """Read the motions that this model made; an earlier demo with other steps may have left its own."""
    version = load_model(model).version
    return [motion for motion in read_motions(generated / "motions") if motion.provenance["model"] == version]


def train_config(config: DemoConfig, data: Path, run: Path) -> TrainConfig:
    """Configure the demo's training: the recipe "tiny" with the demo's number of steps, in one light worker."""
    recipe = tiny()
    recipe = replace(recipe, optim=replace(recipe.optim, steps=config.steps))
    # thousands of clips an epoch: starting one takes seconds, a step takes half of one
    return TrainConfig(recipe, str(data), str(run), repeats=640, num_workers=1, cpus_per_worker=2)


def ask_over_http(port: int) -> None:
    """Send one request as any client would."""
    body = {"prompt": WALK, "num_frames": 26, "seed": 7}
    # not through a proxy that the environment names
    response = httpx.post(f"http://127.0.0.1:{port}/v1/motions", json=body, timeout=120, trust_env=False)
    response.raise_for_status()
    logger.info("POST /v1/motions %s -> %d frames", body, len(response.json()["transl"][0]))


def in_other_words(clip: MotionSequence) -> MotionSequence:
    """Replace a clip's captions by other words that it was not trained on."""
    return replace(clip, texts=[OTHER_WORDS[clip.id.removeprefix("deepmimic/humanoid3d_")]])


def write_prompts(path: Path, clips: list[MotionSequence]) -> Path:
    """Write one request for each clip."""
    asked = [{name: value for name, value in asdict(like(clip)).items() if name != "seed"} for clip in clips]
    path.write_text("".join(json.dumps(request) + "\n" for request in asked), encoding="utf-8")
    return path


def render(folder: Path, count: int) -> None:
    """Render rooms with one person each, as the recipe learns clips of one person, and with measured depth."""
    config = SimulateConfig(num_people=1)
    for seed in trange(count, desc="render"):
        place = folder / "simulated" / f"room-{seed:02}" / "2026-01-01" / f"{seed:06}"
        if not (place / "annotations.json").exists():
            write(simulate(seed, config), place, KEYPOINT_SETS["coco17"], CLEAN, seed, depth=True)


def picture(rooms: Path, motion: MotionSequence) -> bytes:
    """Read the contact sheet of a reconstructed motion as JPEG."""
    content = BytesIO()
    Image.open(sheet_uri(str(rooms), motion.id.removeprefix("teton/"))).convert("RGB").save(content, "JPEG", quality=85)
    return content.getvalue()


def gather(
    output: Path,
    model: str,
    comparisons: list[Comparison],
    others: list[Comparison],
    stages: dict[str, float],
    rooms: dict[str, bytes],
) -> Report:
    """Collect the report's content from what the stages left."""
    loaded, run = load_model(model), output / "run"
    store = tracking.local_store(run)
    run_id = tracking.find_run(store, TrainConfig.experiment, str(run))
    if run_id is None:
        raise RuntimeError(f"{store} holds no run of {run}")
    return Report(
        model_version=loaded.version,
        num_parameters=sum(parameter.numel() for parameter in loaded.network.parameters()),
        recipe=loaded.recipe.name,
        loss=tracking.loss_curve(store, run_id),
        rows=comparisons,
        others=others,
        walk=WALK,
        stages=stages,
        places=places(output, model, store),
        rooms=rooms,
    )


def places(output: Path, model: str, store: str) -> dict[str, str]:
    """List what the demo made: where it lies, or the command that shows it."""
    return {
        "Rooms (video, annotations, truth)": str(output / "rooms"),
        "Reconstructed rooms (Parquet)": str(output / "reconstructed"),
        "Real clips (Parquet)": str(output / "data" / "motions"),
        "Generated motions (Parquet)": str(output / "generated" / "motions"),
        "Model": model,
        "MLflow": f"mlflow ui --backend-store-uri {store}",
        "Serve it": f"python -m ray_jobs.serve --model {model}",
    }


if __name__ == "__main__":
    cli.run(demo, DemoConfig, __doc__ or "")
