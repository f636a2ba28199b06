"""Motions per second of the recipe `default` with its own sampler, beside `thesis` with DDIM-50, at one small size.

Weights are random and cost what trained ones cost; the quality of the motions is measured by `bench_recipes`.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from motion.body import load_body
from motion.denoiser import Denoiser
from motion.features import Normalizer, encode_sequence
from motion.generator import Generator, Model, MotionRequest
from motion.recipes import Recipe
from tests.benchmarks.bench_model_timing import Comparison, in_turn, quotients
from tests.benchmarks.recipes_training import small
from tests.helpers.clips import UPRIGHT, simulated

BATCH, FRAMES, ROUNDS = 8, 100, 3


def default_over_thesis(precisions: Sequence[Literal["fp32", "bf16"]]) -> Comparison:
    """Time from the request to the finished motion in each precision, feet not locked."""
    requests = [
        MotionRequest("a person walks forward and sits down", FRAMES, seed=seed, clean_up=False)
        for seed in range(BATCH)
    ]
    recipes = {name: small(name) for name in ("thesis", "default")}
    names = {name: f"`{name}`, {each.sampling.sampler}-{each.sampling.num_steps}" for name, each in recipes.items()}
    generators = {
        f"{names[name]}, {precision}": generator_in(random_model(recipe), precision)
        for precision in precisions
        for name, recipe in recipes.items()
    }
    runs = {name: (lambda each=each: each.generate(requests)) for name, each in generators.items()}
    rates = {name: [BATCH / seconds for seconds in values] for name, values in in_turn(runs, ROUNDS).items()}
    size = recipes["thesis"].denoiser
    return Comparison(
        "default_over_thesis_motions_per_s",
        f"Sampling ({size.layers} layers of {size.width}, batches of {BATCH}, one person, {FRAMES} frames)",
        "motions/s",
        rates,
        {
            f"`default` / `thesis`, {each}": quotients(
                *(rates[f"{names[name]}, {each}"] for name in ("default", "thesis"))
            )
            for each in precisions
        },
        ("How near to real motions either comes is measured by `bench_recipes`, on trained networks.",),
    )


def generator_in(model: Model, precision: str) -> Generator:
    """Make a generator whose network computes in this precision, as `Generator.load` does."""
    if precision == "bf16":
        model.network.to(torch.bfloat16)
    return Generator(model)


def random_model(recipe: Recipe) -> Model:
    """Build a model with random weights, whose network predicts a person who stands still."""
    still = simulated(
        *(load_body(), torch.zeros(1, 2, 3), UPRIGHT.expand(1, 2, 3, 3)),
        *(torch.eye(3).expand(1, 2, 23, 3, 3), torch.zeros(1, 10)),
    )
    normalizer = Normalizer(encode_sequence(still)[0, 0], torch.full((recipe.denoiser.num_features,), 0.05))
    return Model(Denoiser(recipe.denoiser), normalizer, recipe, "random")
