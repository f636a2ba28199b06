"""Training speed: our step beside a plain encoder's in eager fp32, and batches of like lengths beside mixed batches.

A step is forward, L_simple, backward and AdamW. Ours is the DeepSpeed engine that `ray_jobs.train` makes, on one
worker: in bf16 the weights are bf16 and the optimiser keeps them in fp32. The losses on joints and the average of the
weights are left out, as the plain encoder has neither. DeepSpeed and AdamW cost the same whatever the batch, so the
network is shallower than `thesis` (128 clips a batch) to let the batch be larger.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch.distributed import HashStore

from motion.denoiser import Denoiser
from motion.denoiser.conditions import empty_conditions
from motion.diffusion import make_schedule
from motion.features import NUM_FEATURES, Normalizer
from motion.recipes import OptimConfig, Recipe, thesis, tiny
from motion.training import DiffusionBatch, diffusion_loss, length_batches
from ray_jobs.train import ZERO_1, make_engine
from tests.benchmarks.bench_model_step import PlainEncoder
from tests.benchmarks.bench_model_timing import Comparison, in_turn, quotients

PERSONS, FRAMES, BATCH, LAYERS = 2, 100, 16, 4
STEP_ROUNDS = 3
CLIPS, CLIPS_A_BATCH, SHORTEST, LONGEST, EPOCHS = 256, 16, 30, 196, 3


def train_step_speedup(precisions: Sequence[Literal["fp32", "bf16"]]) -> Comparison:
    """Measure samples per second of our step and of the plain encoder's, each in each precision."""
    recipe = replace(thesis(), diffusion=replace(thesis().diffusion, t_bar=-1))
    recipe = replace(recipe, denoiser=replace(recipe.denoiser, layers=LAYERS))
    batch = padded(recipe, [FRAMES] * BATCH, PERSONS)
    plain = {f"plain encoder, {name}": plain_step(recipe, autocast=name == "bf16") for name in precisions}
    ours = {
        f"ours, DeepSpeed, {name}": engine_step(
            replace(recipe, optim=replace(recipe.optim, batch_size=BATCH, precision=name)), batch
        )
        for name in precisions
    }
    runs = plain | ours
    if "bf16" in precisions:
        runs["ours, autocast to bf16, without DeepSpeed"] = eager_step(recipe, [batch], autocast=True)
    taken = in_turn(runs, STEP_ROUNDS)
    return Comparison(
        "train_step_speedup",
        f"A training step ({LAYERS} of the layers of `thesis`, batch {BATCH}, {PERSONS} persons, {FRAMES} frames)",
        "samples/s",
        {name: [BATCH / seconds for seconds in values] for name, values in taken.items()},
        {
            f"ours / plain, {name}": quotients(taken[other], taken[mine])
            for name, mine, other in zip(precisions, ours, plain, strict=True)
        },
    )


def packed_speedup() -> Comparison:
    """Time an epoch of clips of mixed lengths, each batch padded to its longest clip."""
    recipe = replace(tiny(), denoiser=replace(tiny().denoiser, dropout=thesis().denoiser.dropout))
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, LONGEST + 1, size=CLIPS).tolist()
    orders = {
        "batches as they come": rng.permutation(CLIPS).reshape(-1, CLIPS_A_BATCH).tolist(),
        "batches of like lengths": length_batches([(1, length) for length in lengths], CLIPS_A_BATCH, rng),
    }
    batches = {name: [padded(recipe, [lengths[i] for i in row]) for row in order] for name, order in orders.items()}
    taken = in_turn({name: eager_step(recipe, each) for name, each in batches.items()}, EPOCHS)
    size = recipe.denoiser
    return Comparison(
        "packed_speedup",
        f"{CLIPS} clips of {SHORTEST} to {LONGEST} frames in batches of {CLIPS_A_BATCH} "
        f"({size.layers} layers of {size.width}, eager fp32)",
        "samples/s",
        {name: [CLIPS / seconds for seconds in values] for name, values in taken.items()},
        {"like lengths / as they come": quotients(*taken.values())},
    )


def padded(recipe: Recipe, lengths: Sequence[int], persons: int = 1) -> DiffusionBatch:
    """Make noise instead of motion, padded to the longest."""
    conditions = empty_conditions(len(lengths), persons, max(lengths), recipe.denoiser)
    valid = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None].expand(-1, persons, -1)
    identity = torch.arange(persons).expand(len(lengths), persons)
    told = replace(conditions, valid=valid, identity=identity, text_valid=torch.ones_like(conditions.text_valid))
    return DiffusionBatch(torch.randn(*valid.shape, NUM_FEATURES), told)


def plain_step(recipe: Recipe, autocast: bool) -> Callable[[], None]:
    """Take the plain encoder's step on as many tokens as ours: two vectors more stand for our step and caption."""
    network = PlainEncoder(recipe.denoiser).train()
    optimizer = adamw(network, recipe.optim)
    x, wanted = torch.randn(2, BATCH, 2 + PERSONS * FRAMES, NUM_FEATURES)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = F.mse_loss(network(x), wanted)
        loss.backward()
        optimizer.step()

    return step


def eager_step(recipe: Recipe, batches: Sequence[DiffusionBatch], autocast: bool = False) -> Callable[[], None]:
    """Take a step on each of the batches, by the optimiser itself."""
    network = Denoiser(recipe.denoiser).train()
    optimizer = adamw(network, recipe.optim)
    loss_of = loss_function(recipe)

    def steps() -> None:
        for batch in batches:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = loss_of(network, batch)
            loss.backward()
            optimizer.step()

    return steps


def engine_step(recipe: Recipe, batch: DiffusionBatch) -> Callable[[], None]:
    """Take a step as `ray_jobs.train` takes it, which asks Ray only for the number of workers."""
    os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    settings = json.loads(ZERO_1.read_text())
    with patch("ray.train.get_context") as context:
        context.return_value.get_world_size.return_value = 1
        engine = make_engine(recipe, settings)
    loss_of = loss_function(recipe)

    def step() -> None:
        engine.backward(loss_of(engine, batch))
        engine.step()

    return step


def adamw(network: torch.nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(network.parameters(), optim.learning_rate, weight_decay=optim.weight_decay)


def loss_function(recipe: Recipe) -> Callable[[Any, DiffusionBatch], torch.Tensor]:
    schedule = make_schedule(recipe.diffusion.schedule, recipe.diffusion.num_steps)
    normalizer = Normalizer(torch.zeros(NUM_FEATURES), torch.ones(NUM_FEATURES))
    generator = torch.Generator().manual_seed(0)
    return lambda network, batch: diffusion_loss(network, schedule, recipe, batch, normalizer, generator).total
