"""Train the motion diffusion model with Ray Train and DeepSpeed, tracked by MLflow.

    python -m ray_jobs.train tiny --data data/deepmimic --output runs/first

Run again with the same arguments it goes on from its last checkpoint, or does nothing when it has finished. Leaves
model.safetensors (fp32 EMA weights, normalizer and recipe in one file), learnt.safetensors (what it was trained on, so
that answers tell how far they are from that) and config.yaml in the output folder.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
import ray.data
import ray.train
import torch
import tyro
from ray.experimental import tqdm_ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from motion.body import load_body
from motion.denoiser import Denoiser
from motion.diffusion import make_schedule
from motion.errors import InputError
from motion.errors.numbers import SEED, at_least, check_numbers
from motion.features import Normalizer
from motion.generator import MODEL_FILE, Generator, MotionRequest, load_model, model_bytes
from motion.metrics.learnt import LEARNT_FILE, summarise
from motion.optimization import weight_average
from motion.parquet import from_table, iter_parquet, resolve
from motion.recipes import RECIPES, Recipe
from motion.render import strip
from motion.sequence import MotionSequence
from motion.text import load_text_encoder
from motion.training import DiffusionBatch, collate, diffusion_loss, learning_rate, length_batches
from ray_jobs.common import cli, storage
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import check_seen, file_place, settle, settle_files
from ray_jobs.common.prepared_data import check_rate, read_normalizer
from ray_jobs.common.resources import READER, WORKER_CPUS, check_resources
from ray_jobs.common.single_worker_training import SHUFFLED_BATCHES
from ray_jobs.common.tracker import UNSENT_FILE, Tracker, read_unsent, send_rest, tracked

ZERO_1 = Path(__file__).parent / "common" / "zero1.json"
"""DeepSpeed's configuration unless the user gives another; cluster/deepspeed/zero1.json is a link to it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run."""

    recipe: Recipe
    """Named configuration of model, diffusion, loss and optimiser; each field can be overridden."""
    data: str
    """Output folder or URI of `ray_jobs.prepare`."""
    output: str
    """Folder or URI (s3://…) for checkpoints and the model; every node must see it."""
    num_workers: int = 2
    """Data-parallel workers, among which the recipe's batch is divided."""
    use_gpu: bool = False
    """Give each worker a GPU."""
    cpus_per_worker: float = 1.0
    """CPUs of each worker."""
    repeats: int = 1
    """Times that an epoch shows each clip; raise it for a handful of clips, so that epochs are not too short."""
    captionless: bool = False
    """Train although no clip has a caption, a model that moves but does not follow text."""
    deepspeed: Path | None = None
    """File of a DeepSpeed configuration (JSON); by default the package's own, ZeRO stage 1.

    Batch size, clipping and precision come from the recipe.
    """
    log_every: int = 20
    """Steps between two logged losses, each the mean since the last."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""
    keep_checkpoints: int = 2
    """Number of last checkpoints that stay; each holds the model file of its step, to be compared with others."""
    seed: int = 0
    """Seed of weights, noise and batches."""
    max_failures: int = 2
    """Number of times that lost workers are replaced; training goes on from the last checkpoint."""
    tracking_uri: str | None = None
    """MLflow store, such as http://host:5000; by default a sqlite file in the output folder."""
    experiment: str = "carescene"
    """MLflow experiment that the run is logged to."""
    sample_prompts: tuple[str, ...] = ("a person walks forward",)
    """Prompts of which a picture each is logged at the end."""

    def __post_init__(self) -> None:
        settle(self, "data")
        settle_files(self, "deepspeed")
        encoder = file_place(self.recipe.text_encoder, "--recipe.text-encoder", is_path=False)
        object.__setattr__(self, "recipe", replace(self.recipe, text_encoder=encoder))
        counts = ("num_workers", "repeats", "log_every", "checkpoint_every", "keep_checkpoints")
        ranges = {"cpus_per_worker": WORKER_CPUS, "max_failures": at_least(0), "seed": SEED}
        check_numbers(self, {**dict.fromkeys(counts, at_least(1)), **ranges})
        if not all(prompt.strip() for prompt in self.sample_prompts):
            raise InputError("one of sample_prompts is empty, expected captions to sample at the end")


@dataclass(frozen=True)
class TrainInputs:
    """Inputs of a run, checked before anything is written."""

    normalizer: Normalizer
    deepspeed: dict[str, object]


@dataclass(frozen=True)
class Loop:
    """Settings of the training loop, as the driver hands them to each worker."""

    config: TrainConfig
    inputs: TrainInputs
    store: str
    """URI of the MLflow store."""
    show_bar: bool
    """True shows a progress bar; False logs a line instead."""


def read_inputs(config: TrainConfig) -> TrainInputs:
    """Read and check a run's inputs.

    Raises InputError for a batch that does not divide among the workers, missing or too few clips, too many persons,
    another frame rate, and a text encoder of another width.
    """
    recipe, optim = config.recipe, config.recipe.optim
    if optim.batch_size % config.num_workers:
        raise InputError(f"optim.batch_size {optim.batch_size} does not divide among {config.num_workers} workers")
    deepspeed = config.deepspeed or ZERO_1
    if not deepspeed.is_file():
        raise InputError(f"no DeepSpeed configuration at {deepspeed}; give another --deepspeed, or none for ZeRO-1")
    _check_motions(config)
    text_dim = load_text_encoder(recipe.text_encoder).dim
    if text_dim != recipe.denoiser.text_dim:
        raise InputError(
            f"{recipe.text_encoder} gives {text_dim} numbers, denoiser.text_dim is {recipe.denoiser.text_dim}"
        )
    return TrainInputs(read_normalizer(config.data), _read_settings(deepspeed))


def _read_settings(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is no JSON object, expected a DeepSpeed configuration: {error}") from error


def _check_motions(config: TrainConfig) -> None:
    """Check that the train split has enough clips, of the recipe's frame rate and no more persons than it allows."""
    recipe, optim = config.recipe, config.recipe.optim
    rows = storage.read_rows(storage.join(config.data, "motions"), ("split", "num_persons", "texts", "fps"))
    persons = [count for split, count, *_ in rows if split == "train"]
    if not persons:
        which = "motions of the train split" if rows else "motions"
        raise InputError(
            f"no {which} in {config.data}; make them with `python -m ray_jobs.prepare --output {config.data}`"
        )
    check_rate(config.data, {fps for split, *_, fps in rows if split == "train"}, recipe.fps, "recipe.fps")
    if max(persons) > recipe.max_persons:
        raise InputError(
            f"{config.data} has clips of {max(persons)} persons, recipe.max_persons is {recipe.max_persons}"
        )
    if not config.captionless and not any(texts for split, _, texts, _ in rows if split == "train"):
        raise InputError(
            f"no clip of the train split in {config.data} has a caption, so the model would not follow text: add "
            "captions and prepare again, or say --captionless if that is meant"
        )
    if len(persons) * config.repeats < optim.batch_size:
        raise InputError(
            f"an epoch of {len(persons)} clips x {config.repeats} repeats is less than one batch of "
            f"{optim.batch_size}; raise --repeats or lower --recipe.optim.batch-size"
        )


@writes_output
def train(config: TrainConfig) -> str:
    """Train to the recipe's last step and return where the model file lies.

    Raises InputError for inputs that do not fit and for another run's output.
    """
    inputs = read_inputs(config)
    _check_cluster(config)
    model = storage.join(config.output, MODEL_FILE)
    cli.refuse_other_run(config.output, config)
    if storage.exists(model):
        logger.info("%s is finished, nothing to do", model)
        send_rest(config)
        return model
    with tracked(config, training=True) as tracker:
        cli.write_config(config, config.output)
        result = make_trainer(config, inputs, tracker.store).fit()
        if result.checkpoint is None:
            raise RuntimeError("training ended without a checkpoint")
        with result.checkpoint.as_directory() as folder:
            trained = Path(folder) / MODEL_FILE
            tracker.take(read_unsent(folder))
            generator = Generator.load(trained)
            log_samples(tracker, generator, config.sample_prompts)
            write_learnt(config.data, config.output, generator)
            storage.write_bytes(model, trained.read_bytes())  # last: it says that all is done
    cli.conclude(
        f"the model is {model}, its losses are in {tracker.store}",
        "ray_jobs.generate --prompts prompts.txt --output generated/first --model",
        model,
    )
    return model


def write_learnt(data: str, output: str, generator: Generator) -> None:
    """Write what the model was trained on, in brief, so that its answers tell how far they are from that."""
    motions = tqdm(iter_parquet(MotionSequence, storage.join(data, "motions")), desc="what was learnt")
    trained_on = (motion for motion in motions if motion.split == "train")
    content = summarise(trained_on, generator.version, generator.text_encoder).to_bytes()
    storage.write_bytes(storage.join(output, LEARNT_FILE), content)


def _check_cluster(config: TrainConfig) -> None:
    """Check that the nodes see the data and that the workers fit beside the task that reads it."""
    check_seen(config.data)
    worker = {"CPU": config.cpus_per_worker, "GPU": float(config.use_gpu)}
    check_resources("training", "--num-workers or --cpus-per-worker", (config.num_workers, worker), READER)


def make_trainer(config: TrainConfig, inputs: TrainInputs, store: str) -> TorchTrainer:
    """Build Ray's trainer: workers, the train split `repeats` times an epoch, checkpoints in the output folder."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True  # the same seed, the same batches
    context.enable_progress_bars = False  # the steps' own bar tells more
    motions = storage.dataset(storage.join(config.data, "motions"))
    shown = partial(storage.of_split, split="train", times=config.repeats)
    dataset = motions.map_batches(shown, batch_format="pyarrow", batch_size=None)
    filesystem, path = resolve(config.output)
    return TorchTrainer(
        partial(train_loop, Loop(config, inputs, store, show_bar=sys.stderr.isatty())),
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": config.cpus_per_worker, "GPU": int(config.use_gpu)},
        ),
        torch_config=TorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        datasets={"train": dataset},
        run_config=RunConfig(
            name="train",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
        ),
    )


def train_loop(loop: Loop) -> None:
    """Train on one worker; every rank takes the same steps and reports as often."""
    config, normalizer = loop.config, loop.inputs.normalizer
    recipe = config.recipe
    rank = ray.train.get_context().get_world_rank()
    torch.manual_seed(config.seed)  # the same initial weights on every rank
    engine = make_engine(recipe, loop.inputs.deepspeed)
    average = weight_average(engine.module, recipe.optim.ema_decay)
    tracker = Tracker(loop.store, config, training=True) if rank == 0 else None
    step = resume(engine, average, tracker)
    if step == recipe.optim.steps:  # the driver was lost after the last checkpoint
        return
    schedule = make_schedule(recipe.diffusion.schedule, recipe.diffusion.num_steps)
    generator = torch.Generator().manual_seed(config.seed + 1 + 1000 * step + rank)
    if tracker is not None:
        tracker.log_file("config.yaml", cli.to_yaml(config).encode())
    bar = tqdm_ray.tqdm(total=recipe.optim.steps, desc="train") if rank == 0 and loop.show_bar else None
    if bar is not None:
        bar.update(step)
    losses: list[dict[str, float]] = []
    # Repeats come in turn, so each batch holds every clip about equally often; drawing would only upset that.
    for batch in batches(recipe, normalizer, engine.device, config.seed + step, shuffle=config.repeats == 1):
        for group in engine.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        loss = diffusion_loss(engine, schedule, recipe, batch, normalizer, generator)
        engine.backward(loss.total)
        engine.step()
        average.update_parameters(fp32_weights(engine, recipe))
        step += 1
        losses.append({"loss": loss.total.item(), **{f"loss_{name}": part.item() for name, part in loss.parts.items()}})
        last = step == recipe.optim.steps
        if bar is not None:
            bar.update(1)
        if tracker is not None and (last or step % config.log_every == 0):
            means = {name: float(np.mean([each[name] for each in losses])) for name in losses[0]}
            metrics = {**means, "lr": learning_rate(recipe, step - 1)}
            tracker.log(step, metrics)
            losses.clear()
            if bar is None:
                logger.info("step %d of %d, loss %.4f", step, recipe.optim.steps, metrics["loss"])
        if last or step % config.checkpoint_every == 0:
            files: dict[str, bytes] = {}
            if tracker is not None:
                files[MODEL_FILE] = model_bytes(cast(Denoiser, average.module), normalizer, recipe)
                files[UNSENT_FILE] = (tracker.close() if last else tracker.unsent()).to_json()
            report_checkpoint(engine, step, files)
        if last:
            break
    if bar is not None:
        bar.close()


def make_engine(recipe: Recipe, settings: dict[str, object]) -> Any:
    """Build a DeepSpeed engine around a new network."""
    import deepspeed  # only in workers: it takes seconds and settles on an accelerator when imported

    network = Denoiser(recipe.denoiser)
    optim = recipe.optim
    parameters = network.parameters()
    optimizer = torch.optim.AdamW(parameters, optim.learning_rate, weight_decay=optim.weight_decay, fused=True)
    world = ray.train.get_context().get_world_size()
    settings = settings | {
        "train_micro_batch_size_per_gpu": optim.batch_size // world,
        "gradient_clipping": optim.max_grad_norm,
        "bf16": {"enabled": optim.precision == "bf16"},
    }
    engine, *_ = deepspeed.initialize(model=network, optimizer=optimizer, config=settings)
    return engine


def fp32_weights(engine: Any, recipe: Recipe) -> torch.nn.Module:
    """Return a module of the full-precision weights; in bf16 they are the optimizer's, gathered from all ranks."""
    from deepspeed.utils import safe_get_full_fp32_param

    if recipe.optim.precision == "fp32":
        return engine.module
    return torch.nn.ParameterList(safe_get_full_fp32_param(parameter) for parameter in engine.module.parameters())


def batches(
    recipe: Recipe, normalizer: Normalizer, device: torch.device, seed: int, shuffle: bool
) -> Iterator[DiffusionBatch]:
    """Yield batches of this worker's share of the data without end."""
    context = ray.train.get_context()
    shard = ray.train.get_dataset_shard("train")
    encode_text, body = load_text_encoder(recipe.text_encoder), load_body()
    rng = np.random.default_rng([seed, context.get_world_rank()])
    size = recipe.optim.batch_size // context.get_world_size()
    for epoch in count():
        order = np.random.default_rng([seed, epoch])  # the same on all workers, so that none waits for longer clips
        for table in shard.iter_batches(
            batch_size=SHUFFLED_BATCHES * size if shuffle else size,
            batch_format="pyarrow",
            drop_last=not shuffle,
            local_shuffle_buffer_size=2 * SHUFFLED_BATCHES * size if shuffle else None,
            local_shuffle_seed=seed + epoch,
        ):
            clips = list(from_table(MotionSequence, table))
            sizes = [(clip.num_persons, min(clip.num_frames, recipe.max_frames)) for clip in clips]
            for batch in length_batches(sizes, size, order):
                chosen = [clips[index] for index in batch]
                yield collate(chosen, recipe, normalizer, encode_text, body, rng).to(device)


def resume(engine: Any, average: AveragedModel, tracker: Tracker | None) -> int:
    """Load the last checkpoint, if there is one, and return the step it was taken at; rank 0 has a tracker."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        _, state = engine.load_checkpoint(folder)
        average.module.load_state_dict(load_model(Path(folder) / MODEL_FILE).network.state_dict())
        if tracker is not None:
            tracker.take(read_unsent(folder))
    average.n_averaged.fill_(1 + state["step"])
    return int(state["step"])


def report_checkpoint(engine: Any, step: int, files: Mapping[str, bytes]) -> None:
    """Report a checkpoint: DeepSpeed's sharded state, and the files of rank 0: the model, and what MLflow lacks."""
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, tag="deepspeed", client_state={"step": step})
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        torch.distributed.barrier()
        ray.train.report(
            {"step": step},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{step:07d}",
        )


def log_samples(tracker: Tracker, generator: Generator, prompts: tuple[str, ...]) -> None:
    """Log a picture strip of one sample per prompt to the run's artifacts."""
    requests = [MotionRequest(prompt, num_frames=generator.recipe.max_frames) for prompt in prompts]
    with tempfile.TemporaryDirectory() as folder:
        for sequence in generator.generate(requests):
            path = Path(folder) / f"{sequence.texts[0].replace(' ', '_')[:60]}.png"
            strip(sequence, path)
            tracker.log_file(f"samples/{path.name}", path.read_bytes())


def main() -> None:
    """Train from the command line; the first argument names the recipe."""
    presets = {
        name: (recipe.__doc__ or "", TrainConfig(recipe(), data=tyro.MISSING, output=tyro.MISSING))
        for name, recipe in RECIPES.items()
    }
    cli.run_preset(train, presets, __doc__ or "")


if __name__ == "__main__":
    main()
