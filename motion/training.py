"""What one training step is: clips to padded batches, the loss, the average of the weights. No Ray.

Masks: True = valid. Frames at the recipe's fps, features as in `motion.features`, normalised.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from motion.augment import random_crop
from motion.body import Body
from motion.conditions import Conditions
from motion.denoiser import Denoiser
from motion.diffusion import NoiseSchedule, l_simple, q_sample, target
from motion.features import Normalizer, encode_sequence
from motion.recipes import Recipe
from motion.scene_tokens import HEIGHT_SHAPE, POINTS_PER_GROUP
from motion.sequence import MotionSequence
from motion.text import TextEncoder


@dataclass(frozen=True)
class Batch:
    """Normalised features and what the network is told about them."""

    x0: Float[Tensor, "batch person frame 282"]
    conditions: Conditions

    def to(self, device: torch.device) -> "Batch":
        return Batch(self.x0.to(device), self.conditions.to(device))


def collate(
    sequences: Sequence[MotionSequence],
    recipe: Recipe,
    normalizer: Normalizer,
    encode_text: TextEncoder,
    body: Body,
    rng: np.random.Generator,
) -> Batch:
    """Crop each clip, pick one of its captions and pad all to the largest."""
    sequences = [random_crop(sequence, recipe.max_frames, body, rng) for sequence in sequences]
    persons = max(sequence.num_persons for sequence in sequences)
    frames = max(sequence.num_frames for sequence in sequences)
    x0 = torch.zeros(len(sequences), persons, frames, recipe.denoiser.num_features)
    conditions = empty_conditions(len(sequences), persons, frames, recipe)
    for i, sequence in enumerate(sequences):
        p, f = sequence.valid.shape
        x0[i, :p, :f] = normalizer.normalize(encode_sequence(sequence))
        conditions.valid[i, :p, :f] = torch.from_numpy(sequence.valid)
        conditions.person_class[i, :p] = torch.from_numpy(sequence.person_class)
        conditions.action[i, :p, :f] = torch.from_numpy(sequence.action)
        conditions.identity[i] = torch.from_numpy(rng.permutation(recipe.denoiser.max_persons)[:persons])
    texts = [str(rng.choice(sequence.texts)) if sequence.texts else None for sequence in sequences]
    conditions = with_captions(conditions, [[text] for text in texts], encode_text, recipe)
    return Batch(x0 * conditions.valid[..., None], conditions)


def with_captions(
    conditions: Conditions, captions: Sequence[Sequence[str | None]], encode_text: TextEncoder, recipe: Recipe
) -> Conditions:
    """The same with the captions of each sample: of everybody, then of each person where they have their own."""
    given = [caption for row in captions for caption in row if caption is not None]
    if recipe.denoiser.text == "words":
        words = iter(encode_text.words(given))
    else:
        words = iter(encode_text(given)[:, None]) if given else iter([])
    rows = [[next(words) if caption is not None else None for caption in row] for row in captions]
    shape = (len(rows), max(map(len, rows)), max((len(w) for row in rows for w in row if w is not None), default=1))
    text, valid = torch.zeros(*shape, recipe.denoiser.text_dim), torch.zeros(shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        for c, states in enumerate(row):
            if states is not None:
                text[i, c, : len(states)], valid[i, c, : len(states)] = states, True
    return replace(conditions, text=text, text_valid=valid)


def empty_conditions(batch: int, persons: int, frames: int, recipe: Recipe) -> Conditions:
    """Nothing valid, nothing known, no text, no scene: to be filled in."""
    shape = HEIGHT_SHAPE if recipe.denoiser.height_map else (0, 0)
    return Conditions(
        valid=torch.zeros(batch, persons, frames, dtype=torch.bool),
        known=torch.zeros(batch, persons, frames, dtype=torch.bool),
        identity=torch.zeros(batch, persons, dtype=torch.long),
        person_class=torch.zeros(batch, persons, dtype=torch.long),
        action=torch.zeros(batch, persons, frames, dtype=torch.long),
        text=torch.zeros(batch, 1, 1, recipe.denoiser.text_dim),
        text_valid=torch.zeros(batch, 1, 1, dtype=torch.bool),
        points=torch.zeros(batch, 0, POINTS_PER_GROUP, 3),
        points_valid=torch.zeros(batch, 0, dtype=torch.bool),
        heights=torch.zeros(batch, *shape, 2),
    )


def diffusion_loss(
    network: nn.Module, schedule: NoiseSchedule, recipe: Recipe, batch: Batch, generator: torch.Generator
) -> Float[Tensor, ""]:
    """L_simple (eq. 2.14) at random timesteps, conditions dropped at random (eq. 2.21)."""
    x0, device = batch.x0, batch.x0.device
    t = torch.randint(schedule.num_steps, (len(x0),), generator=generator).to(device)
    noise = torch.randn(x0.shape, generator=generator).to(device)
    dropped = (torch.rand(len(x0), generator=generator) < recipe.diffusion.condition_dropout).to(device)
    output = network(q_sample(schedule, x0, t, noise), t, batch.conditions.without(dropped))
    wanted = target(schedule, recipe.diffusion.prediction, x0, t, noise)
    return l_simple(output.float(), wanted, batch.conditions.valid)


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine decay to zero at the last step."""
    optim = recipe.optim
    if step < optim.warmup_steps:
        return optim.learning_rate * (step + 1) / optim.warmup_steps
    progress = (step - optim.warmup_steps) / max(optim.steps - optim.warmup_steps, 1)
    return float(optim.learning_rate * 0.5 * (1 + np.cos(np.pi * min(progress, 1.0))))


class Ema:
    """Exponential moving average of a network's weights in fp32."""

    def __init__(self, network: Denoiser, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).float().eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, parameters: Iterable[Tensor], step: int) -> None:
        """Early steps average over all so far, so that the random start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, weight in zip(self.network.parameters(), parameters, strict=True):
            average.lerp_(weight.float(), 1 - decay)
