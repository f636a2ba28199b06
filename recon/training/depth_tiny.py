"""Training of the two stand-ins of Depth Anything that ship with the repo, on rendered rooms.

    python -m recon.training.depth_tiny --cache FOLDER --output recon/assets --rooms 1500 --minutes 60

Same architecture (DINOv2 backbone, DPT neck and head), a hundredth of the size, from scratch: good for rooms such as
`recon.simulate` renders and no more. First the relative network, then, starting from it as Depth Anything V2 does, the
metric one. Rooms and checkpoints are kept in the cache, so a run that is stopped goes on when started again.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor
from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from motion.errors.command_line import run
from motion.parquet import whole_file
from recon.depth import DepthFusion, fuse, load_depth_model
from recon.simulate import SimulateConfig, simulate
from recon.training.checkpoint import Checkpoint
from recon.training.depth_from_scratch import schedule, waves

PATCH, ROWS, COLUMNS = 14, 9, 12
SIZE_PX = (PATCH * ROWS, PATCH * COLUMNS)  # height, width
MAX_DEPTH_M = 15
BATCH = 16
LEARNING_RATE = 7e-4
WARM_UP_SHARE = 0.05  # of the time
CHECKPOINT_S, REPORT_S = 120, 20
HELD_OUT = 10  # every tenth room
FRAMES_PER_ROOM = 2  # other rooms teach more than other frames
FRAMES_PER_SECOND = 0.5
IMAGE_SIZE_PX = (320, 240)


@dataclass(frozen=True)
class DepthArguments:
    """Command that trains both depth stand-ins."""

    cache: Path
    """Folder for rendered rooms and checkpoints; a run that was stopped goes on from there."""
    output: Path
    """Folder that receives depth_tiny_relative/ and depth_tiny_metric/; recon/assets holds those that ship."""
    rooms: int = 1500
    """Number of rendered rooms, two frames each; every tenth is held out."""
    minutes: float = 60.0
    """Training time in minutes, without rendering; half of it for each network."""
    seed: int = 0
    """Seed of batches and augmentation."""


@dataclass(frozen=True, eq=False)
class DepthViews:
    """Images of rooms with their true depth in metres, as the networks see them."""

    images: UInt8[np.ndarray, "view height width 3"]
    depth: Float16[np.ndarray, "view height width"]


def main(arguments: DepthArguments) -> None:
    """Render rooms, train both networks, save them and print their errors on held-out rooms."""
    train_views, test_views = render_rooms(arguments.cache, arguments.rooms)
    relative = new_network(metric=False)
    train(relative, train_views, False, 30 * arguments.minutes, arguments.cache, arguments.seed)
    save(relative, arguments.output / "depth_tiny_relative")
    metric = new_network(metric=True)
    start_from(metric, relative)
    train(metric, train_views, True, 30 * arguments.minutes, arguments.cache, arguments.seed)
    save(metric, arguments.output / "depth_tiny_metric")
    print(evaluate(arguments.output, test_views))


def new_network(metric: bool) -> DepthAnythingForDepthEstimation:
    """Build a freshly initialised network that predicts metres (`metric`) or disparity."""
    backbone = Dinov2Config(  # type: ignore[call-arg]
        hidden_size=192,
        num_hidden_layers=6,
        num_attention_heads=3,
        mlp_ratio=4,
        image_size=SIZE_PX[1],  # of a square, whose positions are interpolated
        patch_size=PATCH,
        out_indices=[2, 4, 5, 6],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=192,
        neck_hidden_sizes=[32, 48, 96, 192],
        fusion_hidden_size=48,
        head_hidden_size=24,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=MAX_DEPTH_M if metric else 1,
    )
    network = DepthAnythingForDepthEstimation(config)
    # The last activation is a ReLU, which a start at zero would leave dead in half the image; a room is about 4 m deep.
    with torch.no_grad():
        network.backbone.embeddings.position_embeddings[0, 1:] = waves(COLUMNS, COLUMNS, backbone.hidden_size)
        network.head.conv3.bias.fill_(-1.0 if metric else 1.0)  # type: ignore[union-attr]
    return network


def start_from(network: DepthAnythingForDepthEstimation, other: DepthAnythingForDepthEstimation) -> None:
    """Copy all weights but the last convolution's, which predicts another quantity."""
    state = {key: value for key, value in other.state_dict().items() if not key.startswith("head.conv3")}
    network.load_state_dict(state, strict=False)


def render_rooms(cache: Path, rooms: int) -> tuple[DepthViews, DepthViews]:
    """Return training and held-out views; rooms that are not in the cache yet are rendered."""
    cache.mkdir(parents=True, exist_ok=True)
    files = [cache / f"room_{seed:06d}.npz" for seed in range(rooms)]
    for seed, file in enumerate(files):
        if not file.exists():
            render_room(seed, file)
            print(f"room {seed + 1} of {rooms}", flush=True)
    held_out = files[::HELD_OUT]
    return load_views([file for file in files if file not in held_out]), load_views(held_out)


def render_room(seed: int, file: Path) -> None:
    """Render one room's frames and depth into the cache."""
    config = SimulateConfig(num_frames=FRAMES_PER_ROOM, fps=FRAMES_PER_SECOND, image_size=IMAGE_SIZE_PX, all_clips=True)
    room = simulate(seed, config)
    pixels = torch.from_numpy(room.frames).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, SIZE_PX, mode="bicubic", antialias=True).clamp(0, 255).round()
    depth = F.interpolate(torch.from_numpy(room.depth)[:, None], SIZE_PX, mode="nearest-exact")[:, 0]
    with whole_file(file) as (_, partial), Path(partial).open("wb") as stream:
        np.savez_compressed(stream, images=small.byte().permute(0, 2, 3, 1).numpy(), depth=depth.half().numpy())


def load_views(files: list[Path]) -> DepthViews:
    """Load the views of rooms, one room after the other."""
    rooms = [np.load(file) for file in files]
    return DepthViews(*(np.concatenate([room[name] for room in rooms]) for name in ("images", "depth")))


def train(
    network: DepthAnythingForDepthEstimation, views: DepthViews, metric: bool, seconds: float, cache: Path, seed: int
) -> None:
    """Train for `seconds` in all, from the checkpoint in the cache if there is one."""
    checkpoint = cache / f"checkpoint_{'metric' if metric else 'relative'}.pt"
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    run = Checkpoint(checkpoint, {"network": network, "optimizer": optimizer})
    spent, step = run.resume()
    torch.manual_seed(seed + step)
    network.train().to(memory_format=torch.channels_last)
    last = time.monotonic()
    saved, reported, losses = spent, spent, []
    for images, depth in batches(views, np.random.default_rng(seed + step)):
        if spent >= seconds:
            break
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule(spent / seconds, WARM_UP_SHARE)
        losses.append(train_step(network, optimizer, images, depth, metric))
        now = time.monotonic()
        spent, last, step = spent + now - last, now, step + 1
        if spent - reported > REPORT_S:
            speed = len(losses) * BATCH / (spent - reported)
            told = f"{spent:.0f} s step {step} loss {np.mean(losses):.4f}, {speed:.0f} images/s"
            print(f"{checkpoint.stem} {told}", flush=True)
            reported, losses = spent, []
        if spent - saved > CHECKPOINT_S:
            run.keep(spent, step)
            saved = spent
    run.keep(spent, step)
    network.eval()


def batches(
    views: DepthViews, rng: np.random.Generator
) -> Iterator[tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch height width"]]]:
    """Yield shuffled batches of augmented images (0 to 1) and depth without end."""
    size = min(BATCH, len(views.images))
    while True:
        order = rng.permutation(len(views.images))
        for start in range(0, len(order) - size + 1, size):
            some = np.sort(order[start : start + size])
            images = torch.from_numpy(views.images[some]).permute(0, 3, 1, 2).float() / 255
            yield augment(images, torch.from_numpy(views.depth[some]).float())


def augment(
    images: Float[Tensor, "batch 3 height width"], depth: Float[Tensor, "batch height width"]
) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch height width"]]:
    """Mirror images at random, and change exposure, contrast, saturation, tint and noise."""
    mirrored = torch.rand(len(images), 1, 1) < 0.5
    depth = torch.where(mirrored, depth.flip(-1), depth)
    images = torch.where(mirrored[..., None], images.flip(-1), images)

    def factor(spread: float, channels: int = 1) -> Float[Tensor, "batch channel 1 1"]:
        return torch.exp(spread * torch.randn(len(images), channels, 1, 1))

    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * factor(0.4)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (level + (images - level) * factor(0.2)) * factor(0.2) * factor(0.06, 3)
    return (images + 0.02 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)).clamp(0, 1), depth


def train_step(
    network: DepthAnythingForDepthEstimation,
    optimizer: torch.optim.Optimizer,
    images: Float[Tensor, "batch 3 height width"],
    depth: Float[Tensor, "batch height width"],
    metric: bool,
) -> float:
    """Take one step of the optimiser; return the loss."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    pixels = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = network(pixels).predicted_depth
    valid = (depth > 0) & (depth < MAX_DEPTH_M)  # False where infinite, too
    truth = torch.where(valid, depth, 1.0)
    predicted = predicted.float()
    loss = metric_loss(predicted, truth, valid) if metric else relative_loss(predicted, 1 / truth, valid)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def relative_loss(
    predicted: Float[Tensor, "batch height width"],
    disparity: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Compute the scale- and shift-invariant loss, with gradients matched at four scales (MiDaS, Ranftl et al. 2020).

    `valid` is True where the depth is known.
    """
    difference = standardise(predicted, valid) - standardise(disparity, valid)
    return masked_mean(difference.abs(), valid) + 0.5 * gradient_loss(difference, valid)


def standardise(
    values: Float[Tensor, "batch height width"], valid: Bool[Tensor, "batch height width"]
) -> Float[Tensor, "batch height width"]:
    """Shift and scale each image to median 0 and mean absolute deviation 1 over its valid pixels."""
    shift = values.masked_fill(~valid, torch.nan).flatten(1).nanmedian(dim=1).values[:, None, None]
    scale = ((values - shift).abs() * valid).sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp_min(1)
    return (values - shift) / scale.clamp_min(1e-3)[:, None, None]


def gradient_loss(
    difference: Float[Tensor, "batch height width"], valid: Bool[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """Compute the mean absolute gradient of a difference of images at four scales."""
    terms = []
    for step in (1, 2, 4, 8):
        d, v = difference[:, ::step, ::step], valid[:, ::step, ::step]
        terms.append(masked_mean((d[:, 1:] - d[:, :-1]).abs(), v[:, 1:] & v[:, :-1]))
        terms.append(masked_mean((d[:, :, 1:] - d[:, :, :-1]).abs(), v[:, :, 1:] & v[:, :, :-1]))
    return torch.stack(terms).sum() / 2


def metric_loss(
    predicted: Float[Tensor, "batch height width"],
    depth: Float[Tensor, "batch height width"],
    valid: Bool[Tensor, "batch height width"],
) -> Float[Tensor, ""]:
    """Compute the loss of depth (m) where `valid` is true, all of it on the difference of the logarithms.

    It is the mean absolute difference, half its standard deviation (scale-invariant, Eigen et al. 2014) and a quarter
    of `gradient_loss`.
    """
    difference = predicted.clamp_min(1e-2).log() - depth.log()
    mean = masked_mean(difference, valid)
    variance = masked_mean(difference.square(), valid) - mean.square()
    error = masked_mean(difference.abs(), valid)
    return error + 0.5 * variance.clamp_min(1e-8).sqrt() + 0.25 * gradient_loss(difference, valid)


def masked_mean(values: Float[Tensor, "*shape"], valid: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Average over valid values; 0 where none is."""
    return (values * valid).sum() / valid.sum().clamp_min(1)


def save(network: DepthAnythingForDepthEstimation, folder: Path) -> None:
    """Save a network in half precision, as `transformers` reads it."""
    network.half().save_pretrained(folder)
    network.float()
    DPTImageProcessor(
        size={"height": SIZE_PX[0], "width": SIZE_PX[1]},
        keep_aspect_ratio=True,
        ensure_multiple_of=14,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    ).save_pretrained(folder)


def evaluate(folder: Path, views: DepthViews) -> str:
    """Describe the saved networks' errors on views that they never saw.

    Relative depth is taken at the best scale and shift of each image, metric as it is, and both fused over the views of
    each room as in a reconstruction.
    """
    disparity, metres = (
        load_depth_model(folder / f"depth_tiny_{kind}", metric=kind == "metric").predict(views.images)
        for kind in ("relative", "metric")
    )
    truth = np.where((views.depth > 0) & (views.depth < MAX_DEPTH_M), views.depth, np.nan).astype(np.float32)
    alone = [aligned(d, t) for d, t in zip(disparity, truth, strict=True)]
    rooms = [slice(i, i + FRAMES_PER_ROOM) for i in range(0, len(truth), FRAMES_PER_ROOM)]
    fused = [fuse(disparity[room], metres[room]).depth(disparity[room]) for room in rooms]
    names = {"relative": np.stack(alone), "metric": metres, "fused": np.concatenate(fused)}
    errors = {name: depth_errors(depth, truth) for name, depth in names.items()}
    numbers = ", ".join(f"{name} AbsRel {rel:.3f} delta1 {delta:.3f}" for name, (rel, delta) in errors.items())
    return f"{len(truth)} held-out views: {numbers}"


def aligned(
    disparity: Float[np.ndarray, "height width"], truth: Float[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """Convert disparity to depth by the scale and shift that fit this image best (least squares of inverse depth)."""
    known = np.isfinite(truth)
    alpha, beta = np.polyfit(disparity[known], 1 / truth[known], 1)
    return DepthFusion(alpha, beta, 1.0, 0.0).depth(disparity)


def depth_errors(depth: Float[np.ndarray, "*view"], truth: Float[np.ndarray, "*view"]) -> tuple[float, float]:
    """Compute AbsRel and delta1, the share of pixels within a factor of 1.25; pixels without an answer count as 0 m."""
    known = np.isfinite(truth)
    depth, truth = np.where(np.isfinite(depth), depth, 0.0)[known], truth[known]
    ratio = np.maximum(depth / truth, truth / np.maximum(depth, 1e-6))
    return float(np.mean(np.abs(depth - truth) / truth)), float(np.mean(ratio < 1.25))


if __name__ == "__main__":
    run(main, DepthArguments, __doc__)
