"""Cost of a guided step of sampling, beside a plain encoder of the same sizes that is called twice.

The plain one is what one would write first: `torch.nn.TransformerEncoder`, post-norm, GELU, biases as they
come, in inference mode with PyTorch's fast path on, a linear layer before and after it, and one call for each branch of
guidance. Its sequence is as long as ours.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from motion.denoiser import DenoiserConfig
from motion.denoiser.__main__ import make_step
from motion.features import NUM_FEATURES
from motion.recipes import Recipe, thesis
from tests.benchmarks.bench_model_timing import Comparison, in_turn, quotients

PERSONS, FRAMES, ROUNDS = 2, 100, 7


class PlainEncoder(nn.Module):
    """Transformer encoder of a denoiser's sizes without any of its conditions."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            *(config.width, config.heads, config.feedforward, config.dropout, "gelu"),
            batch_first=True,
            norm_first=False,
        )
        self.embed = nn.Linear(NUM_FEATURES, config.width)
        self.encoder = nn.TransformerEncoder(layer, config.layers)
        self.output = nn.Linear(config.width, NUM_FEATURES)

    def forward(self, x: Float[Tensor, "batch token feature"]) -> Float[Tensor, "batch token feature"]:
        return self.output(self.encoder(self.embed(x)))


def step_cost(precisions: dict[str, torch.dtype]) -> Comparison:
    """Time our step, both branches in one batch, its conditions prepared, and the plain one; each in each precision."""
    recipe = thesis()
    steps = {name: make_step(recipe, PERSONS, FRAMES, 1, 2, dtype) for name, dtype in precisions.items()}
    tokens = sum(steps["fp32"].tokens())
    plain = {f"plain encoder, {name}, called twice": twice(recipe, tokens, dtype) for name, dtype in precisions.items()}
    ours = {f"ours, {name}, both branches in one batch": step.run() for name, step in steps.items()}
    taken = in_turn(plain | ours, ROUNDS)
    return Comparison(
        "step_cost_ratio",
        f"A guided step of `thesis` ({PERSONS} persons, {FRAMES} frames: {tokens} tokens)",
        "seconds",
        taken,
        {
            f"ours / plain, {name}": quotients(taken[mine], taken[other])
            for name, mine, other in zip(precisions, ours, plain, strict=True)
        },
    )


def twice(recipe: Recipe, tokens: int, dtype: torch.dtype) -> Callable[[], None]:
    """Call the plain encoder once for each branch."""
    plain, x = PlainEncoder(recipe.denoiser).eval().to(dtype), torch.randn(1, tokens, NUM_FEATURES, dtype=dtype)

    @torch.inference_mode()
    def calls() -> None:
        for _ in range(2):
            plain(x)

    return calls
