"""Training of `recon/assets/lifter.safetensors`: 40 minutes of one CPU core, more helps.

    python -m recon.training.lifter --output recon/assets/lifter.safetensors --cmu FOLDER --minutes 40

FOLDER holds CMU's captures as BVH files. The checkpoint is written every few minutes, and a run that finds one goes on
from there until it has had `minutes` altogether. The last lines are errors on held-out clips.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from motion.body import Body, load_body
from motion.errors.command_line import run
from motion.metrics.pose_error import mpjpe, pa_mpjpe, world_mpjpe
from motion.optimization import cosine_decay, weight_average
from motion.smpl_parameters import SmplParameters
from motion.weights import save_weights
from recon.keypoints import BodyKeypoints, body_keypoints
from recon.lifting import FORMAT, NAMES, WINDOW_FRAMES, Lifted, LifterNetwork, Sight, decode, features, sight
from recon.training.checkpoint import Checkpoint
from recon.training.lifter_views import CLEAN, Annotated, Noise, Pool, Seen, annotate, draw
from recon.training.poses import HELD_OUT, PoseClip, read_poses

BATCH_FRAMES = 960  # in a batch
SHORT_FRAMES = 6  # of a window in the first half, when variety teaches more than time does
PEAK_RATE, WARM_UP_STEPS = 1e-3, 200  # of learning
SAVE_EVERY_S = 180.0
AVERAGE_DECAY = 0.998
NOISY = Noise(pixels=5.0, outliers=0.1, dropped=0.0, swapped=0.0, always=True)


@dataclass(frozen=True)
class LifterOptions:
    """Command that trains the lifter."""

    output: Path
    """File that receives the network; recon/assets/lifter.safetensors is the one that ships."""
    cmu: Path | None = None
    """Folder of CMU's BVH files; without it only DeepMimic's clips are learnt from."""
    minutes: float = 40.0
    """Processor time in minutes, over all runs with this checkpoint."""
    checkpoint: Path = Path("lifter.pt")
    """File that holds the state of the training; a run that was stopped goes on from there."""
    composed: int = 600
    """Number of clips composed of postures of a care room."""


def train(options: LifterOptions) -> None:
    """Train until the time is used up, save, and print errors on held-out clips."""
    body = load_body()
    clips = read_poses(options.cmu, options.composed, body)
    learnt = Pool.of([clip for clip in clips if not clip.held_out])
    points = body_keypoints(body, NAMES)
    network = LifterNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=1e-2)
    mean = weight_average(network, AVERAGE_DECAY)
    checkpoint = Checkpoint(options.checkpoint, {"network": network, "mean": mean, "optimizer": optimizer})
    spent, step = checkpoint.resume()
    generator = torch.Generator().manual_seed(1 + step)
    saved = reported = time.monotonic()
    while spent < 60 * options.minutes:
        began = time.process_time()
        done = spent / (60 * options.minutes)
        _set_rate(optimizer, step, done)
        frames = SHORT_FRAMES if done < 0.5 else WINDOW_FRAMES
        loss = _loss(network, draw(learnt, BATCH_FRAMES // frames, body, generator, frames), points, body, generator)
        optimizer.zero_grad()
        torch.stack(list(loss.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        mean.update_parameters(network)
        spent += time.process_time() - began
        step, now = step + 1, time.monotonic()
        if now - reported > 30:
            reported = now
            print(step, round(spent), json.dumps({k: round(v.item(), 4) for k, v in loss.items()}), flush=True)
        if now - saved > SAVE_EVERY_S or spent >= 60 * options.minutes:
            saved = now
            checkpoint.keep(spent, step)
            save(mean.module, options, step, spent)
    report(mean.module, [clip for clip in clips if clip.held_out], points, body)


def report(network: nn.Module, held_out: list[PoseClip], points: BodyKeypoints, body: Body) -> None:
    """Print errors on held-out clips: captured, composed, and each of `HELD_OUT` by itself."""
    for name, chosen in {
        "captured": [clip for clip in held_out if not clip.composed],
        "composed": [clip for clip in held_out if clip.composed],
        **{name: [clip for clip in held_out if clip.name == f"{name}#0"] for name in HELD_OUT},
    }.items():
        for noise in (CLEAN, NOISY):
            errors = evaluate(network, Pool.of(chosen), noise, points, body)
            print(name, "clean" if noise is CLEAN else "noisy", json.dumps(errors), flush=True)


@torch.no_grad()
def evaluate(network: nn.Module, pool: Pool, noise: Noise, points: BodyKeypoints, body: Body) -> dict[str, float]:
    """Compute errors in millimetres from COCO-17 without depth, on 128 windows drawn of `pool`."""
    generator = torch.Generator().manual_seed(0)
    seen = draw(pool, 128, body, generator)
    annotated = annotate(seen, points, noise, generator, names="coco17")
    lifted, _ = _lift(network, annotated, seen, depth=False)
    joints, truth = _joints(lifted, body)[0].numpy(), seen.joints.numpy()
    errors = pa_mpjpe(joints, truth), mpjpe(joints, truth), world_mpjpe(joints, truth)
    names = ("pa_mpjpe", "mpjpe", "world_mpjpe")
    return {name: round(1000 * error, 1) for name, error in zip(names, errors, strict=True)}


def _lift(network: nn.Module, annotated: Annotated, seen: Seen, depth: bool = True) -> tuple[Lifted, Sight]:
    """Lift annotations into the frame of reference of `seen`, where the middle of the keypoints is not at azimuth 0."""
    ranges = annotated.ranges if depth else torch.full_like(annotated.ranges, torch.nan)
    view = sight(annotated.rays, annotated.confidence > 0)
    inputs = features(annotated.rays, annotated.confidence, ranges, seen.height, seen.fps, view)
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(inputs)
    return decode(answer.float(), view, seen.height).in_world(view), view


def _loss(
    network: LifterNetwork, seen: Seen, points: BodyKeypoints, body: Body, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compute the weighted terms; errors in the world are divided by the distance, those in the image by the size."""
    lifted, view = _lift(network, annotate(seen, points, Noise(), generator), seen)
    joints, turns = _joints(lifted, body)
    near = 1 / seen.joints[:, :, :1].norm(dim=-1).clamp_min(1.0)
    camera = pad(seen.height[:, None, None, None], (2, 0))
    direction, true_direction = (normalize(at - camera, dim=-1) for at in (joints, seen.joints))
    aside = torch.linalg.vector_norm(direction - true_direction, dim=-1) / view.size[..., None]
    pose, truth = joints - joints[:, :, :1], seen.joints - seen.joints[:, :, :1]
    return {
        "pose": 5 * _distance(pose, truth),
        "world": (2 * near * torch.linalg.vector_norm(joints - seen.joints + 1e-8, dim=-1)).mean(),
        "image": aside.clamp_max(2).mean(),
        "turns": (turns - seen.turns).square().sum(dim=(-1, -2)).mean(),
        "local": (lifted.rotations - seen.rotations)[:, :, 1:].square().sum(dim=(-1, -2)).mean(),
        "speed": 2 * _distance(joints.diff(dim=1), seen.joints.diff(dim=1)),
        "betas": 0.02 * (lifted.betas - seen.betas[:, None]).square().mean(),
    }


def _distance(points: Tensor, others: Tensor) -> Tensor:
    return torch.linalg.vector_norm(points - others + 1e-8, dim=-1).mean()


def _joints(lifted: Lifted, body: Body) -> tuple[Tensor, Tensor]:
    return SmplParameters.from_pelvis(lifted.pelvis, lifted.rotations, lifted.betas, body).kinematics(body)


def _set_rate(optimizer: torch.optim.Optimizer, step: int, done: float) -> None:
    rate = PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * cosine_decay(done, floor=0.02)
    for group in optimizer.param_groups:
        group["lr"] = rate


def save(network: nn.Module, options: LifterOptions, step: int, spent: float) -> None:
    """Write the asset: the network in half precision, after `step` steps and `spent` seconds of the processor."""
    halves = {name: value.half() for name, value in network.state_dict().items()}
    description = {"steps": step, "minutes": round(spent / 60, 1), "cmu": options.cmu is not None}
    save_weights(options.output, halves, FORMAT, description)


if __name__ == "__main__":
    run(train, LifterOptions, __doc__)
