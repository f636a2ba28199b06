"""Training of the stand-in of HMR2.0 that ships with the repo, on rendered rooms.

    python -m recon.training.hmr2_tiny --cache FOLDER --output recon/assets/hmr2_tiny.safetensors

Same architecture, a hundredth of the size, from scratch: good for persons such as `recon.simulate` renders and no more.
Rooms and checkpoints are kept in the cache, so a run that is stopped goes on when started again. Every tenth room is
held out; errors on those are printed and kept in the file.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from motion.body import Body, load_body
from motion.errors.command_line import run
from motion.metrics.pose_error import mpjpe, pa_mpjpe
from motion.optimization import weight_average
from motion.rotations import columns_first, matrix_to_6d
from motion.weights import save_weights
from recon.regressors import HMR2, CropEstimates, HMR2Config
from recon.regressors.hmr2 import COLUMNS, CROP_SIZE, IMAGE_MEAN, IMAGE_STD, PATCH, ROWS, SIDE_CUT, TINY
from recon.regressors.hmr2_checkpoint import FORMAT
from recon.training.checkpoint import Checkpoint
from recon.training.depth_from_scratch import schedule, waves
from recon.training.hmr2_views import Targets, Views, augmented, load_views, plain, render_views

MOTION = "DeepMimic's clips (MIT) and poses composed from them, on the default body (see motion/assets/NOTICE)"
BATCH = 32
LEARNING_RATE, WEIGHT_DECAY, WARM_UP_SHARE = 2e-4, 0.05, 0.1  # the last as a share of the time
AVERAGE_DECAY = 0.995  # of the average of the weights, which is what is saved
CHECKPOINT_S, REPORT_S, VALIDATE_S = 120.0, 20.0, 300.0
HELD_OUT = 10
WEIGHTS = {
    "joints": 5.0,
    "pixels": 1.0,
    "global_orient": 0.5,
    "body_pose": 0.5,
    "betas": 0.02,
    "cam": 0.5,
    "patch": 0.5,
}
OUTSIDE = -1  # stands for the patch of a joint beyond the crop


@dataclass(frozen=True)
class HMR2Arguments:
    """Command that trains the HMR2.0 stand-in."""

    cache: Path
    """Folder for rendered rooms and checkpoints; a run that was stopped goes on from there."""
    output: Path
    """File that receives the network; recon/assets/hmr2_tiny.safetensors is the one that ships."""
    rooms: int = 400
    """Number of rendered rooms, 12 frames each; every tenth is held out."""
    minutes: float = 60.0
    """Training time in minutes, without rendering."""
    seed: int = 0
    """Seed of weights, batches and augmentation."""


def main(arguments: HMR2Arguments) -> None:
    """Render rooms, train, print the errors on held-out rooms, and save."""
    paths = render_views(arguments.cache, arguments.rooms)
    held_out = paths[::HELD_OUT]
    views, test = load_views([path for path in paths if path not in held_out]), load_views(held_out)
    network = train(views, test, 60 * arguments.minutes, arguments.cache / "checkpoint.pt", arguments.seed)
    errors = validate(network, test, load_body())
    print(sentence(errors, test), flush=True)
    save(network, arguments.output, {"motion": MOTION, "rooms": len(paths), "views": len(views), **errors})


def train(views: Views, test: Views, seconds: float, checkpoint: Path, seed: int, config: HMR2Config = TINY) -> HMR2:
    """Train for `seconds` in all, from the checkpoint if there is one; return the average of the weights."""
    body, network, pointer = load_body(), new_network(config, views, seed), nn.Linear(config.width, 24)
    average = weight_average(network, AVERAGE_DECAY)
    averaged = cast(HMR2, average.module)
    parameters = [*network.parameters(), *pointer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    run = Checkpoint(checkpoint, {"network": network, "average": average, "pointer": pointer, "optimizer": optimizer})
    spent, step = run.resume()
    torch.manual_seed(seed + step)
    saved = reported = validated = spent
    last, losses = time.monotonic(), []
    for some in batches(views, seed + step):
        if spent >= seconds:
            break
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule(spent / seconds, WARM_UP_SHARE)
        losses.append(train_step(network, pointer, optimizer, *augmented(some, body), body))
        step += 1
        average.update_parameters(network)
        now = time.monotonic()
        spent, last = spent + now - last, now
        if spent - reported > REPORT_S:
            speed = len(losses) * BATCH / (spent - reported)
            print(f"{spent:.0f} s step {step} loss {sum(losses) / len(losses):.3f}, {speed:.0f} images/s", flush=True)
            reported, losses = spent, []
        if spent - saved > CHECKPOINT_S:
            run.keep(spent, step)
            saved = spent
        if spent - validated > VALIDATE_S:
            print(sentence(validate(averaged, test, body), test), flush=True)
            validated, last = spent, time.monotonic()
    run.keep(spent, step)
    return averaged


def new_network(config: HMR2Config, views: Views, seed: int) -> HMR2:
    """Build a network that starts at the mean of its targets, as HMR2.0 starts at SMPL's mean parameters."""
    torch.manual_seed(seed)
    network = HMR2(config)
    network.backbone.pos_embed.data[0, 1:] = waves(ROWS, COLUMNS, config.width)
    head = network.smpl_head
    for layer in (head.decpose, head.decshape, head.deccam):
        nn.init.xavier_uniform_(layer.weight, gain=0.01)
        nn.init.zeros_(layer.bias)
    _, targets = plain(views.pick(torch.randperm(len(views))[:500]), load_body())
    head.init_body_pose.copy_(columns_first(matrix_to_6d(targets.bodies.rotations)).mean(dim=0).flatten()[None])
    head.init_cam.copy_(targets.cam.mean(dim=0, keepdim=True))
    return network


def batches(views: Views, seed: int) -> Iterator[Views]:
    """Yield shuffled batches without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(views), generator=generator)
        for some in order.split(BATCH):
            if len(some) == min(BATCH, len(views)):
                yield views.pick(some)


def train_step(
    network: HMR2,
    pointer: nn.Linear,
    optimizer: torch.optim.Optimizer,
    images: Float[Tensor, "view 3 256 256"],
    targets: Targets,
    body: Body,
) -> float:
    """Take one step of the optimiser; return the loss."""
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        tokens = network.backbone(normalized(images)[..., SIDE_CUT:-SIDE_CUT])
        found, points = network.smpl_head(tokens), pointer(tokens)
    terms = losses_of(found, targets, body) | {"patch": patch_loss(points.float(), targets)}
    total = torch.stack([WEIGHTS[name] * value for name, value in terms.items()]).sum()
    optimizer.zero_grad()
    total.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(total.detach())


def normalized(images: Float[Tensor, "view 3 256 256"]) -> Float[Tensor, "view 3 256 256"]:
    """Take ImageNet's mean and standard deviation out of images from 0 to 1."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    return (images - mean) / std


def patch_loss(points: Float[Tensor, "view token 24"], targets: Targets) -> Float[Tensor, ""]:
    """Compute the cross-entropy of each joint's patch, a task that ViTPose taught HMR2.0's backbone beforehand."""
    pixels = (targets.pixels + 1) * CROP_SIZE / 2 - torch.tensor([SIDE_CUT, 0.0])
    column, row = pixels.div(PATCH).floor().long().unbind(dim=-1)
    inside = (column >= 0) & (column < COLUMNS) & (row >= 0) & (row < ROWS)
    patch = torch.where(inside, row * COLUMNS + column, OUTSIDE)
    return nn.functional.cross_entropy(points.mT.flatten(0, 1), patch.flatten(), ignore_index=OUTSIDE)


def losses_of(found: CropEstimates, targets: Targets, body: Body) -> dict[str, Float[Tensor, ""]]:
    """Compute the terms of HMR2.0 but its adversary: joints from the pelvis and in the crop (L1), parameters (L2)."""
    joints, pixels = seen_joints(found, body)
    return {
        "joints": (joints - targets.joints).abs().sum(dim=-1).mean(),
        "pixels": (pixels - targets.pixels).abs().sum(dim=-1).clamp_max(2.0).mean(),
        "global_orient": (found.global_orient - targets.global_orient).square().sum(dim=(-2, -1)).mean(),
        "body_pose": (found.body_pose - targets.body_pose).square().sum(dim=(-2, -1)).mean(),
        "betas": (found.betas - targets.betas).square().mean(),
        "cam": (found.cam - targets.cam).abs().clamp_max(1.0).sum(dim=-1).mean(),
    }


def seen_joints(estimates: CropEstimates, body: Body) -> tuple[Float[Tensor, "view 24 3"], Float[Tensor, "view 24 2"]]:
    """Compute joints relative to the pelvis (metres), and their projection onto the square (-1 to 1)."""
    joints = estimates.bodies.joints(body)
    scale, shift = estimates.cam[:, None, :1], estimates.cam[:, None, 1:]
    return joints - joints[:, :1], scale * (joints[..., :2] + shift)


@torch.no_grad()
def validate(network: HMR2, views: Views, body: Body) -> dict[str, float]:
    """Compute errors on held-out crops: joints in mm, and their pixels in 1/256 of the crop's side."""
    network.eval()
    found, truth, pixels = [], [], []
    for some in torch.arange(len(views)).split(BATCH):
        images, targets = plain(views.pick(some), body)
        joints, seen = seen_joints(network(normalized(images)), body)
        found.append(joints)
        truth.append(targets.joints)
        pixels.append((seen - targets.pixels).norm(dim=-1).mean(dim=-1) * 128)
    joints, reference = torch.cat(found), torch.cat(truth)
    return {
        "mpjpe_mm": round(1000 * mpjpe(joints[None], reference[None]), 1),
        "pa_mpjpe_mm": round(1000 * pa_mpjpe(joints.numpy(), reference.numpy()), 1),
        "crop_pixels": round(float(torch.cat(pixels).mean()), 2),
    }


def sentence(errors: dict[str, float], views: Views) -> str:
    """Describe errors in one line."""
    numbers = ", ".join(f"{name} {value}" for name, value in errors.items())
    return f"{len(views)} held-out views: {numbers}"


def save(network: HMR2, path: Path, described: dict[str, object]) -> None:
    """Save a network in half precision, with its origin and its errors."""
    state = {name: value.half() for name, value in network.state_dict().items()}
    save_weights(path, state, FORMAT, {"config": asdict(network.config), "body": "default", **described})


if __name__ == "__main__":
    run(main, HMR2Arguments, __doc__)
