"""Cost of one denoiser step on this machine: its FLOPs by part, and its time.

    python -m motion.denoiser --profile --recipe thesis --persons 2 --frames 100 --precision bf16

A step is one pass of the network over all branches of guidance, their conditions prepared, as sampling takes it at
every timestep. Weights are random, which costs what trained ones cost. FLOPs are the additions and multiplications of
matrix products; norms and activations are not counted.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import tyro
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from motion.denoiser.conditions import Conditions, empty_conditions
from motion.denoiser.network import Denoiser
from motion.errors import InputError
from motion.errors.command_line import run
from motion.features import NUM_FEATURES
from motion.recipes import RECIPES, Recipe

WARM_UP_STEPS, TIMED_STEPS = 2, 10
CAPTION_WORDS = 16  # of the caption, for networks that read words

if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = tyro.extras.literal_type_from_choices(RECIPES)


@dataclass(frozen=True)
class Arguments:
    """Network to measure, and the sizes of its input."""

    profile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Measure a step and print what it costs: all that this command can do."""
    recipe: RecipeName = "thesis"
    """Recipe that gives the network's sizes and kind."""
    persons: int = 2
    """Number of persons, each with tokens of their own."""
    frames: int = 100
    """Frames of each person, at the recipe's frames per second."""
    batch: int = 1
    """Motions that are sampled together."""
    branches: int = 2
    """Forward passes of guidance, put into one batch: 2 as classifier-free guidance has, 1 for none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of weights and activations; bf16 pays only where the processor multiplies it (AVX-512 BF16, AMX, a GPU)."""


@dataclass(frozen=True)
class Step:
    """Network and the whole input of one step of it."""

    network: Denoiser
    x_t: Float[Tensor, "batch person frame feature"]
    t: Int[Tensor, " batch"]
    conditions: Conditions

    def run(self) -> Callable[[], Tensor]:
        """Prepare the conditions and return the step as a function."""
        with torch.inference_mode():
            prepared = self.network.prepare(self.conditions)

        @torch.inference_mode()
        def denoise() -> Tensor:
            return self.network.denoise(self.x_t, self.t, prepared)

        return denoise

    def tokens(self) -> tuple[int, int]:
        """Count the tokens of the sequence: those before the motion, and the motion's."""
        with torch.inference_mode():
            prepared = self.network.prepare(self.conditions)
        _, persons, number, _ = prepared.added.shape
        return prepared.prefix.shape[1] + (not self.network.modulated), persons * number


def make_step(recipe: Recipe, persons: int, frames: int, batch: int, branches: int, dtype: torch.dtype) -> Step:
    """Make a new network, noise and a caption; all branches but the first are unconditional."""
    words = CAPTION_WORDS if recipe.denoiser.text == "words" else 1
    conditional = replace(
        empty_conditions(batch, persons, frames, recipe.denoiser),
        valid=torch.ones(batch, persons, frames, dtype=torch.bool),
        identity=torch.arange(persons).expand(batch, persons),
        text=torch.randn(batch, 1, words, recipe.denoiser.text_dim),
        text_valid=torch.ones(batch, 1, words, dtype=torch.bool),
    )
    unconditional = conditional.without(torch.ones(batch, dtype=torch.bool))
    network = Denoiser(recipe.denoiser).eval().to(dtype)
    x_t = torch.randn(branches * batch, persons, frames, NUM_FEATURES)
    t = torch.full((branches * batch,), recipe.diffusion.num_steps // 2)
    return Step(network, x_t, t, conditional.followed_by(*[unconditional] * (branches - 1)))


def count_flops(run: Callable[[], Tensor]) -> dict[str, int]:
    """Count the FLOPs of a step by part; `total` is all of them."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    with FlopCounterMode(display=False, custom_mapping={attention: _attention_flops}) as counter:
        run()
    counts = counter.get_flop_counts()

    def within(ending: str) -> int:
        return sum(sum(ops.values()) for module, ops in counts.items() if module.endswith(ending))

    parts = {
        "attention: projections": within(".attention.qkv") + within(".attention.out"),
        "attention: scores and sums": counts["Global"][attention],
        "feed-forward": within(".feedforward"),
    }
    total = counter.get_total_flops()
    return parts | {"embedding, step and output": total - sum(parts.values()), "total": total}


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Count the FLOPs of attention on a CPU; PyTorch counts its kernels for GPUs only."""
    return int(sdpa_flop_count(query, key, value))


def seconds(run: Callable[[], Tensor]) -> list[float]:
    """Time a step `TIMED_STEPS` times, after `WARM_UP_STEPS` others."""
    taken = []
    for _ in range(WARM_UP_STEPS + TIMED_STEPS):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken[WARM_UP_STEPS:]


def report(step: Step, flops: dict[str, int], taken: list[float]) -> str:
    """Format the measurements as lines of text."""
    prefix, motion = step.tokens()
    weights = sum(parameter.numel() for parameter in step.network.parameters())
    median, spread = statistics.median(taken), f"{1e3 * min(taken):.1f} to {1e3 * max(taken):.1f}"
    rows = [f"{part:28} {count / 1e9:9.3f} {count / flops['total']:7.1%}" for part, count in flops.items()]
    return "\n".join(
        [
            f"parameters {weights / 1e6:.1f} M, {step.network.output.weight.dtype}, {torch.get_num_threads()} threads",
            f"sequence   {prefix + motion} tokens: {prefix} before the motion, {motion} of it; {len(step.t)} sequences",
            f"step       {1e3 * median:.1f} ms, median of {len(taken)} ({spread})",
            f"achieved   {flops['total'] / median / 1e9:.1f} GFLOP/s",
            "",
            f"{'part':28} {'GFLOP':>9} {'share':>7}",
            *rows,
        ]
    )


def measure(arguments: Arguments) -> str:
    """Measure and report the step of these arguments; raises InputError for sizes the network cannot take."""
    recipe = RECIPES[arguments.recipe]()
    for name in ("persons", "frames", "batch", "branches"):
        if getattr(arguments, name) < 1:
            raise InputError(f"{name} is {getattr(arguments, name)}, expected 1 or more")
    if arguments.persons > recipe.denoiser.max_persons:
        raise InputError(f"persons is {arguments.persons}, this network takes 1 to {recipe.denoiser.max_persons}")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[arguments.precision]
    sizes = (arguments.persons, arguments.frames, arguments.batch, arguments.branches)
    step = make_step(recipe, *sizes, dtype)
    run = step.run()
    return report(step, count_flops(run), seconds(run))


def main(arguments: Arguments) -> None:
    """Print the report."""
    if not arguments.profile:
        raise InputError("nothing to do: this command measures a step when --profile is given")
    print(measure(arguments))


if __name__ == "__main__":
    run(main, Arguments, __doc__)
