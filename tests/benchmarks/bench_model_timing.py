"""Timing that the `bench_model_*` share: alternatives timed in turn in one process, and their table."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

Timings = dict[str, list[float]]


@dataclass(frozen=True)
class Comparison:
    """Alternatives that do the same work, and how many times one of them beats (or costs) another."""

    key: str
    title: str
    unit: str
    figures: Timings
    """Figures by name of the alternative, one for each round."""
    ratios: dict[str, list[float]]
    """Ratios by what is divided by what, one for each round, of figures taken one after the other."""
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        rows = "\n".join(f"| {name} | {spread(values)} |" for name, values in self.figures.items())
        notes = "".join(f"\n{note}\n" for note in self.notes)
        head = f"### {self.title}\n\n| | {self.unit} |\n|---|---|\n{rows}\n"
        ratios = "".join(f"| **{name}** | **{spread(values)}** |\n" for name, values in self.ratios.items())
        return f"{head}{ratios}{notes}"


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> Timings:
    """Time each run, one of each a round, after one round to warm up (seconds)."""
    taken: Timings = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if number:
                taken[name].append(time.perf_counter() - start)
    return taken


def quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Return the median, and the least and the greatest value."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def bf16_gain() -> float:
    """Measure how many times as fast a layer is in bf16; below 1 where the processor has no instruction for it."""
    x, weight = torch.randn(404, 1024), torch.randn(2048, 1024)
    x_bf16, weight_bf16 = x.bfloat16(), weight.bfloat16()
    taken = in_turn({"fp32": lambda: F.linear(x, weight), "bf16": lambda: F.linear(x_bf16, weight_bf16)}, rounds=5)
    return statistics.median(quotients(taken["fp32"], taken["bf16"]))
