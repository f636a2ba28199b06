"""Training of the action classifier: labels, batches of noisy stretches, the loss.

Masks: True = valid; label -1 = none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from motion.diffusion import NoiseSchedule, q_sample
from motion.evaluator.action_classifier import CLIPS_PER_BATCH, ActionClassifier, ClassifierConfig
from motion.features import POSITIONS, VELOCITIES, Normalizer, encode_sequence
from motion.rotations import about, rotate
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS

OFFSET_STD_M = 1.5  # of persons' places in training


@dataclass(frozen=True)
class Example:
    """Clip as training sees it."""

    features: Float[Tensor, "person frame feature"]
    """Features of `motion.features` in metres."""
    valid: Bool[Tensor, "person frame"]
    """True where a person is there."""
    labels: Int[Tensor, "person frame"]
    """Label of each frame; -1 for none."""

    @classmethod
    def of(cls, motion: MotionSequence, labels: Int[np.ndarray, "person frame"]) -> "Example":
        """Encode a motion, with a label for each frame."""
        return cls(encode_sequence(motion), torch.from_numpy(motion.valid), torch.from_numpy(labels).long())

    def stretch(self, start: int, length: int) -> "Example":
        """Cut `length` frames from `start` on; velocities of the first frame become zero."""
        frames = slice(start, start + length)
        features = self.features[:, frames].clone()
        features[:, 0, VELOCITIES] = 0
        return Example(features, self.valid[:, frames], self.labels[:, frames])


@dataclass(frozen=True)
class LabelledBatch:
    """Normalized clips padded to the largest, and a label for each person."""

    x0: Float[Tensor, "batch person frame feature"]
    """Features of `motion.features`, normalized; zero where not valid."""
    valid: Bool[Tensor, "batch person frame"]
    """True where a person is there."""
    labels: Int[Tensor, "batch person"]
    """Label of most of the person's valid frames; -1 for none."""

    @classmethod
    def of(cls, examples: Sequence[Example], normalizer: Normalizer) -> "LabelledBatch":
        """Normalize and pad clips to the largest of them."""
        persons, frames = (max(example.valid.shape[axis] for example in examples) for axis in (0, 1))
        x0 = torch.zeros(len(examples), persons, frames, len(normalizer.mean))
        valid = torch.zeros(x0.shape[:3], dtype=torch.bool)
        labels = torch.full(x0.shape[:2], -1)
        for i, example in enumerate(examples):
            p, f = example.valid.shape
            x0[i, :p, :f] = normalizer.normalize(example.features)
            valid[i, :p, :f] = example.valid
            labels[i, :p] = prevailing(example.labels, example.valid)
        return cls(x0 * valid[..., None], valid, labels)

    def to(self, device: torch.device | str) -> "LabelledBatch":
        """Move the batch to `device`."""
        return LabelledBatch(self.x0.to(device), self.valid.to(device), self.labels.to(device))


def action_labels(motion: MotionSequence, names: Sequence[str]) -> Int[np.ndarray, "person frame"]:
    """Convert each frame's action to an index into `names`; -1 where it is none of them."""
    table = np.array([names.index(action) if action in names else -1 for action in ACTIONS])
    return table[motion.action]


def prevailing(labels: Int[Tensor, "person frame"], valid: Bool[Tensor, "person frame"]) -> Int[Tensor, " person"]:
    """Find the label of most of each person's valid frames, which may be -1."""
    counts = F.one_hot(labels + 1) * valid[..., None]
    return counts.sum(dim=1).argmax(dim=-1) - 1


def labelled_batch(
    examples: Sequence[Example], normalizer: Normalizer, max_frames: int, rng: np.random.Generator
) -> LabelledBatch:
    """Cut a random stretch of each clip and place its persons anew: an action is the same anywhere."""
    stretches = []
    for example in examples:
        length = min(example.valid.shape[1], max_frames)
        stretch = example.stretch(int(rng.integers(example.valid.shape[1] - length + 1)), length)
        stretches.append(Example(placed_anew(stretch.features, rng), stretch.valid, stretch.labels))
    return LabelledBatch.of(stretches, normalizer)


def placed_anew(
    features: Float[Tensor, "person frame 282"], rng: np.random.Generator
) -> Float[Tensor, "person frame 282"]:
    """Turn each person about the vertical and move them over the floor, at random and independently of the others."""
    angle = torch.from_numpy(rng.uniform(-math.pi, math.pi, len(features))).to(features)[:, None, None]
    offset = torch.from_numpy(rng.normal(0, OFFSET_STD_M, (len(features), 1, 1, 2))).to(features)
    turned = rotate(about("z", angle), features[..., : VELOCITIES.stop].unflatten(-1, (-1, 3)))
    turned[:, :, : POSITIONS.stop // 3, :2] += offset
    return torch.cat([turned.flatten(-2), features[..., VELOCITIES.stop :]], dim=-1)


def classifier_loss(
    network: nn.Module,
    schedule: NoiseSchedule,
    x0: Float[Tensor, "batch person frame feature"],
    valid: Bool[Tensor, "batch person frame"],
    labels: Int[Tensor, "batch person"],
    generator: torch.Generator,
    noisy: bool = True,
) -> Float[Tensor, ""]:
    """Compute the cross entropy of the persons with a label, at random timesteps.

    `noisy` False trains a judge of finished motions.
    """
    t = torch.zeros(len(x0), dtype=torch.long, device=x0.device)
    if noisy:
        t = torch.randint(schedule.num_steps, (len(x0),), generator=generator).to(x0.device)
        x0 = q_sample(schedule, x0, t, torch.randn(x0.shape, generator=generator).to(x0.device))
    labelled = labels >= 0
    logits = network(x0, t, valid)[labelled]
    return F.cross_entropy(logits, labels[labelled], reduction="sum") / labelled.sum().clamp_min(1)


@torch.no_grad()
def num_correct(
    network: nn.Module, schedule: NoiseSchedule, batch: LabelledBatch, t: int | None, generator: torch.Generator
) -> int:
    """Count the persons whose label is found in motions noised to step `t`; None leaves the motions clean."""
    step, x_t = torch.full((len(batch.x0),), t or 0, device=batch.x0.device), batch.x0
    if t is not None:
        x_t = q_sample(schedule, x_t, step, torch.randn(x_t.shape, generator=generator).to(x_t.device))
    found = network(x_t, step, batch.valid).argmax(dim=-1)
    return int(((found == batch.labels) & (batch.labels >= 0)).sum())


def accuracy(
    network: nn.Module,
    schedule: NoiseSchedule,
    motions: Sequence[MotionSequence],
    labels: Sequence[Int[np.ndarray, " _"]],
    normalizer: Normalizer,
    t: int | None = None,
    seed: int = 0,
) -> float:
    """Compute the share of the labelled persons whose label is found; NaN where there is none.

    Motions are noised to step `t`; None leaves them clean.
    """
    generator = torch.Generator().manual_seed(seed)
    device = next(network.parameters()).device
    examples = _labelled(motions, labels)
    right = total = 0
    for start in range(0, len(examples), CLIPS_PER_BATCH):
        batch = LabelledBatch.of(examples[start : start + CLIPS_PER_BATCH], normalizer).to(device)
        right += num_correct(network, schedule, batch, t, generator)
        total += int((batch.labels >= 0).sum())
    return right / total if total else math.nan


def fit(
    config: ClassifierConfig,
    schedule: NoiseSchedule,
    motions: Sequence[MotionSequence],
    labels: Sequence[Int[np.ndarray, " _"]],
    normalizer: Normalizer,
    steps: int,
    seed: int = 0,
    noisy: bool = True,
    max_frames: int = 100,
    learning_rate: float = 1e-3,
) -> ActionClassifier:
    """Train a classifier of motions whose persons have one label each, in this process.

    `noisy` False trains a judge of finished motions.
    """
    examples, rng = _labelled(motions, labels), np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ActionClassifier(config).train()
        optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
        rates = one_cycle(optimizer, learning_rate, steps)
        for _ in range(steps):
            chosen = rng.choice(len(examples), min(CLIPS_PER_BATCH, len(examples)), replace=False)
            batch = labelled_batch([examples[i] for i in chosen], normalizer, max_frames, rng)
            loss = classifier_loss(network, schedule, batch.x0, batch.valid, batch.labels, generator, noisy)
            training_step(network, optimizer, rates, loss)
    return network.eval().requires_grad_(False)


def one_cycle(optimizer: torch.optim.Optimizer, learning_rate: float, steps: int) -> OneCycleLR:
    """Make the schedule of a rise to `learning_rate` over a tenth of the steps and of a fall to zero (Smith 2018).

    The rise takes two steps at least: torch divides by zero where it takes one.
    """
    return OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=max(0.1, min(2 / steps, 0.9)))


def training_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    rates: torch.optim.lr_scheduler.LRScheduler,
    loss: Float[Tensor, ""],
) -> None:
    """Take one optimizer step with gradients clipped to norm 1, and advance the learning rate."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    rates.step()


def _labelled(motions: Sequence[MotionSequence], labels: Sequence[Int[np.ndarray, " _"]]) -> list[Example]:
    return [
        Example.of(motion, np.repeat(each[:, None], motion.num_frames, axis=1))
        for motion, each in zip(motions, labels, strict=True)
    ]
