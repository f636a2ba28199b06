"""Recipes at one small size, trained for equal processor time on the same real clips: what `bench_recipes` compares."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion.body import load_body
from motion.denoiser import Denoiser
from motion.diffusion import make_schedule
from motion.features import Normalizer
from motion.generator import model_bytes
from motion.optimization import weight_average
from motion.recipes import RECIPES, Recipe
from motion.sequence import MotionSequence, read_motions
from motion.text import load_text_encoder
from motion.training import collate, diffusion_loss, learning_rate, length_batches
from ray_jobs.common.prepared_data import read_normalizer
from tests.benchmarks.bench_model_timing import bf16_gain

SIZE = {"width": 256, "layers": 10, "heads": 4, "feedforward": 512, "text_dim": 384}


def small(name: str, **changes: Any) -> Recipe:
    """Reduce a recipe to the common size, keeping its own choices; `changes` are DOTTED__FIELD=value.

    The best learning rate of Adam goes with 1 / width (Yang et al. 2022), so each recipe's own is that much higher
    here.
    """
    recipe = RECIPES[name]()
    rate = recipe.optim.learning_rate * recipe.denoiser.width / SIZE["width"]
    recipe = replace(
        recipe,
        denoiser=replace(recipe.denoiser, **SIZE),
        optim=replace(
            recipe.optim, batch_size=16, learning_rate=rate, warmup_steps=100, ema_decay=0.995, precision="fp32"
        ),
        text_encoder="minilm",
        max_frames=100,
    )
    for path, value in changes.items():
        part, _, field = path.partition("__")
        recipe = replace(recipe, **{part: replace(getattr(recipe, part), **{field: value})})
    return recipe


@dataclass(frozen=True)
class Trained:
    model: bytes
    parameters: int
    steps: int
    cpu_seconds: float
    loss: float
    """Mean loss of the last tenth of the steps."""


def train(recipe: Recipe, data: Path, cpu_seconds: float, seed: int = 0) -> Trained:
    """Train on one thread for as many steps as fit into the processor time; in bf16 where that is faster."""
    torch.set_num_threads(1)
    faster = bf16_gain() > 1
    torch.manual_seed(seed)
    motions = [motion for motion in read_motions(data / "motions") if motion.split == "train"]
    normalizer = read_normalizer(str(data))
    network = Denoiser(recipe.denoiser)
    optim = recipe.optim
    optimizer = torch.optim.AdamW(network.parameters(), optim.learning_rate, weight_decay=optim.weight_decay)
    average = weight_average(network, optim.ema_decay)
    schedule = make_schedule(recipe.diffusion.schedule, recipe.diffusion.num_steps)
    generator, losses, start = torch.Generator().manual_seed(seed), [], time.process_time()
    for step, batch in enumerate(batches(motions, normalizer, recipe, seed)):
        spent = time.process_time() - start
        if step and spent >= cpu_seconds:
            break
        if step:  # learning rates fall to zero when the time is over, whatever a step costs
            recipe = replace(recipe, optim=replace(optim, steps=int(step * cpu_seconds / spent)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=faster):
            loss = diffusion_loss(network, schedule, recipe, batch, normalizer, generator).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), optim.max_grad_norm)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
    tail = losses[-max(len(losses) // 10, 1) :]
    count = sum(parameter.numel() for parameter in network.parameters())
    return Trained(model_bytes(average.module, normalizer, recipe), count, len(losses), spent, float(np.mean(tail)))


def batches(motions: list[MotionSequence], normalizer: Normalizer, recipe: Recipe, seed: int) -> Iterator[Any]:
    rng, body, encode_text = np.random.default_rng(seed), load_body(), load_text_encoder(recipe.text_encoder)
    sizes = [(motion.num_persons, min(motion.num_frames, recipe.max_frames)) for motion in motions]
    while True:
        for batch in length_batches(sizes, recipe.optim.batch_size, rng):
            yield collate([motions[i] for i in batch], recipe, normalizer, encode_text, body, rng)
