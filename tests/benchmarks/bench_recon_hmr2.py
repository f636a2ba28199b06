"""Speed of HMR2.0's ViT-H in bf16 relative to fp32 on this machine, and how far that moves joints.

Weights: 0.02 times normal numbers (biases 0.01, gains about 1), by which activations keep their size through all 32
blocks; the read-out of poses is scaled so that its 6D numbers lie 0.3 from the identity, some 25° a joint, as real
poses do. On random weights this shows the effect of rounding on the sums, not on accuracy on real pictures.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from motion.body import load_body
from recon.regressors import HMR2, CropEstimates, HMR2Regressor
from recon.regressors.hmr2 import OFFICIAL, HMR2Config

BATCH, ROUNDS = 4, 3
POSE_SPREAD = 0.3


def hmr2_bf16_speedup() -> dict[str, float]:
    """Measure speedup, fp32_images_per_s, bf16_images_per_s (best of alternating rounds) and mean_joint_change_mm."""
    generator = torch.Generator().manual_seed(0)
    crops = torch.randint(0, 256, (BATCH, 256, 256, 3), generator=generator, dtype=torch.uint8)
    state = random_state(generator)
    exact = HMR2Regressor(filled(state), load_body())
    spread_poses(exact, crops)
    rounded = HMR2Regressor(filled(state), load_body(), bf16=True)
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(ROUNDS):
        seconds["fp32"].append(timed(lambda: exact.estimate(crops)))
        seconds["bf16"].append(timed(lambda: rounded.estimate(crops)))
    moved = joints(rounded.estimate(crops)) - joints(exact.estimate(crops))
    best = {name: BATCH / min(times) for name, times in seconds.items()}
    return {
        "speedup": best["bf16"] / best["fp32"],
        "fp32_images_per_s": best["fp32"],
        "bf16_images_per_s": best["bf16"],
        "mean_joint_change_mm": 1000 * float(moved.norm(dim=-1).mean()),
    }


def random_state(generator: torch.Generator, config: HMR2Config = OFFICIAL) -> dict[str, Tensor]:
    """Draw random weights whose activations keep their size."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in HMR2(config).state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        scale = 0.02 if len(shape) >= 2 else 0.01
        state[name] = scale * torch.randn(shape, generator=generator) + (
            1.0 if "norm" in name and "weight" in name else 0.0
        )
    state["smpl_head.init_body_pose"] = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0, 0.0] * 24])
    return state


def filled(state: dict[str, Tensor], config: HMR2Config = OFFICIAL) -> HMR2:
    """Build a network that shares the tensors."""
    with torch.device("meta"):
        network = HMR2(config)
    network.load_state_dict(state, assign=True)
    return network


def spread_poses(regressor: HMR2Regressor, crops: Tensor) -> None:
    """Scale the read-out of poses, in place, until its standard deviation is POSE_SPREAD."""
    layer, outputs = regressor.network.smpl_head.decpose, []
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    regressor.estimate(crops[:1])
    hook.remove()
    assert isinstance(layer, nn.Linear)
    layer.weight.mul_(POSE_SPREAD / outputs[0].std())


def joints(estimates: CropEstimates) -> Tensor:
    return estimates.bodies.joints(load_body())


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
