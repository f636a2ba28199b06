"""Time sampling of the `tiny` recipe on this machine: `python -m tests.benchmarks sampling` writes results/sampling.md.

Weights are random, which costs as much as trained ones; those that start at 0 are drawn, too. Every figure is the
median of `REPEATS` runs with the spread beside it; alternatives run alternately in one process.
"""

import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import torch
from torch import nn

from motion.denoiser import Denoiser
from motion.denoiser.conditions import empty_conditions
from motion.features import Normalizer
from motion.generator import Generator, Model, MotionRequest
from motion.guidance import ClassifierFree
from motion.recipes import tiny
from tests.benchmarks.results_file import cores

RESULTS = Path(__file__).parent / "results" / "sampling.md"
REPEATS = 5
FRAMES = 60


def seconds(*runs: Callable[[], object]) -> list[list[float]]:
    """Time each run `REPEATS` times, in turn, after one to warm up."""
    timings: list[list[float]] = [[] for _ in runs]
    for repeat in range(REPEATS + 1):
        for run, taken in zip(runs, timings, strict=True):
            start = time.perf_counter()
            run()
            if repeat:
                taken.append(time.perf_counter() - start)
    return timings


def spread(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def batch_seconds(generator: Generator, batch: int) -> list[float]:
    requests = [MotionRequest("a person walks forward", FRAMES, seed=seed) for seed in range(batch)]
    return seconds(lambda: generator.generate(requests))[0]


def guidance_ratio(network: Denoiser) -> list[float]:
    """Measure two separate forwards ÷ both branches in one, per guided step at batch 8."""
    recipe = tiny()
    conditions = empty_conditions(8, 1, FRAMES, recipe.denoiser)
    conditions.valid.fill_(True)
    conditions.text_valid.fill_(True)
    x, t = torch.randn(8, 1, FRAMES, 282), torch.full((8,), 500)
    guide = ClassifierFree(torch.full((8,), 2.0))

    def separately() -> torch.Tensor:
        without = network(x, t, conditions.without(torch.ones(8, dtype=torch.bool)))
        return without + 2.0 * (network(x, t, conditions) - without)

    def together() -> torch.Tensor:
        return guide.combine(network(x.repeat(2, 1, 1, 1), t.repeat(2), guide.branches(conditions)))

    with torch.inference_mode():
        torch.testing.assert_close(together(), separately(), atol=1e-4, rtol=1e-4)
        two, one = seconds(separately, together)
    return [a / b for a, b in zip(two, one, strict=True)]


def main() -> None:
    """Time batches of 1, 4 and 16 and the guidance's two branches; write the table."""
    torch.manual_seed(0)
    recipe = tiny()
    network = Denoiser(recipe.denoiser).eval()
    for weights in network.parameters():
        if not weights.any():  # an output of exactly 0 is no rotation
            nn.init.normal_(weights, std=0.02)
    model = Model(network, Normalizer(torch.zeros(282), torch.ones(282)), recipe, "random")
    generator = Generator(model)
    taken = {batch: batch_seconds(generator, batch) for batch in (1, 4, 16)}
    rates = {batch: [batch / t for t in times] for batch, times in taken.items()}
    rows = [f"| {batch} | {spread(rates[batch], 1)} | {spread(taken[batch], 2)} |" for batch in taken]
    ratio = guidance_ratio(network)
    machine = f"{cores()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        f"# Sampling, recipe `tiny`, {FRAMES} frames, {recipe.sampling.sampler}-{recipe.sampling.num_steps}, guided\n\n"
        f"{date.today()}, {machine}; `python -m tests.benchmarks sampling`; median (least–greatest) of {REPEATS}.\n\n"
        "| batch | motions/s | s per batch |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
        f"Two forwards ÷ both guidance branches in one, batch 8: {spread(ratio, 2)}\n"
    )
    assert statistics.median(rates[16]) > statistics.median(rates[1]), "batching does not pay"


if __name__ == "__main__":
    main()
