"""Speed of the reconstruction's networks and fits on a GPU, and how far they are from the CPU's answers.

    python -m tests.gpu.recon                 # some minutes; writes tests/benchmarks/results/gpu.md
    python -m tests.gpu.recon --device cpu    # small networks and few frames; shows that the script runs

Needs neither Ray nor weights: those of the networks are random (`bench_recon_hmr2`). The last line printed is a JSON
object of the figures.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import numpy as np
import torch
from torch import Tensor

from motion.body import load_body
from recon.depth.networks import DepthModel
from recon.fitting import Fit, fit_together
from recon.pose_prior import load_prior
from recon.regressors import HMR2Regressor
from recon.regressors.hmr2 import OFFICIAL, TINY, HMR2Config
from tests.benchmarks.bench_recon_fit import problems
from tests.benchmarks.bench_recon_hmr2 import filled, joints, random_state, spread_poses
from tests.benchmarks.results_file import RESULTS, cores, write_section

ROUNDS = 5
AGREEING = 4
"""Crops whose joints are compared with the CPU's."""
IMAGE = (480, 640)


@dataclass(frozen=True)
class Depth:
    """Sizes of Depth Anything V2."""

    name: str
    width: int
    layers: int
    heads: int
    stages: tuple[int, ...]
    neck: tuple[int, ...]
    fusion: int


SMALL = Depth("Small", 384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64)
LARGE = Depth("Large", 1024, 24, 16, (5, 12, 18, 24), (256, 512, 1024, 1024), 256)


@dataclass(frozen=True)
class Load:
    """Work to be measured."""

    hmr2: HMR2Config
    batches: tuple[int, ...]
    """Crops in a batch of the body network."""
    depths: tuple[Depth, ...]
    images: int
    """Images in a batch of the depth networks."""
    sequences: tuple[int, ...]
    """Sequences of 2 persons and 100 frames that are fitted together."""


WHOLE = Load(OFFICIAL, (1, 8, 16, 32, 64, 128, 256), (SMALL, LARGE), 8, (1, 16, 96))
QUICK = Load(TINY, (1, 4), (Depth("tiny", 24, 4, 2, (1, 2, 3, 4), (8, 8, 8, 8), 8),), 1, (1,))


def main() -> None:
    """Measure, print the table, and write it where there is a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    device = parser.parse_args().device
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: torch sees no GPU, expected one; --device cpu runs small networks without")
    figures = measure(WHOLE if device == "cuda" else QUICK, device)
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value:.4g} |" for name, value in figures.items())])
    print(table)
    if device == "cuda":
        card = f"{torch.cuda.get_device_name()}, {cores()}, torch {torch.__version__}"
        text = f"{date.today()}, {card}; `python -m tests.gpu.recon`. Weights are random.\n\n{table}"
        write_section("Reconstruction", text, RESULTS / "gpu.md", "# On a GPU\n")
    print(json.dumps(figures))


def measure(load: Load, device: str) -> dict[str, float]:
    """Measure all: speeds in items a second, agreement in millimetres."""
    return {**body_network(load, device), **depth_networks(load, device), **fits(load, device)}


def body_network(load: Load, device: str) -> dict[str, float]:
    """Measure crops a second in bf16, the share of the time that their way to the GPU takes, and agreement."""
    generator = torch.Generator().manual_seed(0)
    size = (AGREEING, 256, 256, 3)
    crops = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    state = random_state(generator, load.hmr2)
    exact = HMR2Regressor(filled(state, load.hmr2), load_body())
    spread_poses(exact, crops)
    expected = joints(exact.estimate(crops))
    figures = {}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        network = HMR2Regressor(filled(state, load.hmr2), load_body(), device, bf16)
        away = (joints(network.estimate(crops)) - expected).norm(dim=-1)
        figures[f"joints moved in {name}, mean mm"] = 1000 * float(away.mean())
        figures[f"joints moved in {name}, most mm"] = 1000 * float(away.max())
    for batch in load.batches:
        images = [crops[k % AGREEING].numpy() for k in range(batch)]
        spent = seconds(lambda images=images: network.estimate(torch.from_numpy(np.stack(images))), device)
        sent = seconds(lambda images=images: torch.from_numpy(np.stack(images)).to(device), device)
        figures[f"crops a second, {batch} together"] = batch / spent
        figures[f"share of that to send them, {batch} together"] = sent / spent
    return figures


def depth_networks(load: Load, device: str) -> dict[str, float]:
    """Measure images a second in bf16, with and without what the CPU does before and after."""
    images = np.random.default_rng(0).integers(0, 256, (load.images, *IMAGE, 3), dtype=np.uint8)
    figures = {}
    for sizes in load.depths:
        model = depth_anything(sizes, device)
        pixels = model.processor(images=list(images), return_tensors="pt")["pixel_values"].to(device)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16):
            alone = seconds(lambda model=model, pixels=pixels: model.network(pixels), device)
        whole = seconds(lambda model=model: model.predict(images), device)
        figures[f"images a second, Depth Anything V2 {sizes.name}"] = load.images / whole
        figures[f"images a second, Depth Anything V2 {sizes.name}, the network alone"] = load.images / alone
    return figures


def depth_anything(sizes: Depth, device: str) -> DepthModel:
    """Build Depth Anything V2 with random weights."""
    from transformers import (
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTImageProcessor,
    )

    backbone = Dinov2Config(
        image_size=518,
        patch_size=14,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        out_indices=list(sizes.stages),
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=sizes.width,
        neck_hidden_sizes=list(sizes.neck),
        fusion_hidden_size=sizes.fusion,
    )
    processor = DPTImageProcessor(
        size={"height": 518, "width": 518}, keep_aspect_ratio=True, ensure_multiple_of=14, resample=3
    )
    network = DepthAnythingForDepthEstimation(config).to(device).eval()
    return DepthModel(network, processor, False, torch.device(device), True)


def fits(load: Load, device: str) -> dict[str, float]:
    """Measure person-frames a second of sequences together, and how far the first one's joints are from the CPU's."""
    body, prior, figures = load_body(), load_prior(), {}
    fit_together(*problems(1), body, prior, device)  # the first loads kernels
    for sequences in load.sequences:
        seen, starts = problems(sequences)
        person_frames = sum(start.valid.numel() for start in starts)
        with on_the_clock(device) as clock:
            found = fit_together(seen, starts, body, prior, device)
        figures[f"person-frames a second, {sequences} together"] = person_frames / clock()
    with on_the_clock("cpu") as clock:
        (expected,) = fit_together(seen[:1], starts[:1], body, prior)
    figures["person-frames a second, 1 on the CPU"] = person_frames / sequences / clock()
    away = (placed(found[0]) - placed(expected)).norm(dim=-1)
    return figures | {
        "fitted joints moved, mean mm": 1000 * float(away.mean()),
        "fitted joints moved, most mm": 1000 * float(away.max()),
    }


def placed(fit: Fit) -> Tensor:
    return fit.people.joints(load_body())


def seconds(call: Callable[[], object], device: str) -> float:
    """Measure the least time of some calls, after two that do not count."""
    times = []
    for _ in range(2 + ROUNDS):
        with on_the_clock(device) as clock:
            call()
        times.append(clock())
    return min(times[2:])


@contextmanager
def on_the_clock(device: str) -> Iterator[Callable[[], float]]:
    """Time what is done until the GPU has done it, too; the answer says how long that took, afterwards."""
    ended: list[float] = []
    _wait(device)
    began = time.perf_counter()
    yield lambda: ended[0] - began
    _wait(device)
    ended.append(time.perf_counter())


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
