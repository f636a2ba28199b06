"""Time the denoiser's step, its sampling and its training on this machine: `make bench-model`.

Writes the section Speed of results/model.md. The last line is JSON, in each precision: `step_cost_ratio` (a guided step
of `thesis` over a plain encoder that is called twice), `default_over_thesis_motions_per_s`, `train_step_speedup`
(samples/s over those of the plain encoder); and `packed_speedup` (samples/s in batches of like lengths over batches as
they come): medians of rounds in which both are timed one after the other. bf16 is run where it multiplies matrices
faster than fp32; `bf16_gain` says by how much.
"""

import json
import os
import statistics
from datetime import date

os.environ.setdefault("DS_ACCELERATOR", "cpu")  # read when DeepSpeed is first imported

import torch

from tests.benchmarks.bench_model_sampling import default_over_thesis
from tests.benchmarks.bench_model_step import step_cost
from tests.benchmarks.bench_model_timing import Comparison, bf16_gain
from tests.benchmarks.bench_model_train import packed_speedup, train_step_speedup
from tests.benchmarks.results_file import cores, write_section


def hardware(gain: float) -> str:
    """Describe processor, threads, versions and the gain of bf16."""
    return (
        f"{date.today():%d %B %Y}, {cores()}, no GPU, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, `make bench-model`.\n"
        "Medians of rounds in which all of a table run in turn (least to greatest).\n"
        f"A layer in bf16 is {gain:.2g} times as fast as in fp32 here"
        f"{'' if gain > 1 else ', so nothing below is run in bf16'}.\n"
    )


def section(comparisons: list[Comparison], gain: float) -> str:
    return "\n".join([hardware(gain), *(comparison.table() for comparison in comparisons)])


def main() -> None:
    """Run the parts, one after the other, and print their ratios as JSON."""
    torch.manual_seed(0)
    gain = bf16_gain()
    precisions = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if gain > 1 else {})
    comparisons = [
        step_cost(precisions),
        default_over_thesis(list(precisions)),
        train_step_speedup(list(precisions)),
        packed_speedup(),
    ]
    written = section(comparisons, gain)
    write_section("Speed", written)
    print(written)
    ratios = {
        each.key: {name: round(statistics.median(values), 3) for name, values in each.ratios.items()}
        for each in comparisons
    }
    print(json.dumps(ratios | {"bf16_gain": round(gain, 3)}))


if __name__ == "__main__":
    main()
