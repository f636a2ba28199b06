"""Training step: clips to padded batches, the loss, the learning rate. No Ray.

Masks: True = valid. Frames at the recipe's fps, features as in `motion.features`, normalized.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from motion.body import Body
from motion.clips.augment import mirror, random_crop
from motion.clips.composition import compose
from motion.denoiser import Conditions
from motion.denoiser.conditions import empty_conditions, own_numbers, with_captions
from motion.diffusion import NoiseSchedule, l_simple, loss_weights, predicted_x0, q_sample, target
from motion.features import Normalizer, encode_sequence
from motion.losses import motion_losses
from motion.optimization import cosine_decay
from motion.recipes import Recipe
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, PERSON_CLASSES
from motion.text import TextEncoder

MAX_COMPOSED = 4  # clips in one scene


@dataclass(frozen=True)
class DiffusionBatch:
    """Normalized features of a batch of clips, and their conditions."""

    x0: Float[Tensor, "batch person frame 282"]
    """Features of `motion.features`, normalized; zero where not valid."""
    conditions: Conditions
    """Conditions of the batch, captions embedded."""

    def to(self, device: torch.device) -> "DiffusionBatch":
        """Move the batch to `device`."""
        return DiffusionBatch(self.x0.to(device), self.conditions.to(device))


def collate(
    sequences: Sequence[MotionSequence],
    recipe: Recipe,
    normalizer: Normalizer,
    encode_text: TextEncoder,
    body: Body,
    rng: np.random.Generator,
) -> DiffusionBatch:
    """Crop each clip, vary it as the recipe says, pick one of its captions and pad all to the largest.

    Captions, crops, variations and identities are drawn from `rng`.
    """
    variation = recipe.variation
    sequences = [random_crop(sequence, recipe.max_frames, body, rng) for sequence in sequences]
    sequences = [mirror(s, body) if s.scene_id is None and rng.random() < variation.mirrored else s for s in sequences]
    captions = [[str(rng.choice(sequence.texts)) if sequence.texts else None] for sequence in sequences]
    if rng.random() < variation.composed:
        sequences, captions = composed(sequences, captions, recipe, body, rng)
    persons = max(sequence.num_persons for sequence in sequences)
    frames = max(sequence.num_frames for sequence in sequences)
    x0 = torch.zeros(len(sequences), persons, frames, recipe.denoiser.num_features)
    conditions = empty_conditions(len(sequences), persons, frames, recipe.denoiser)
    for i, sequence in enumerate(sequences):
        p, f = sequence.valid.shape
        x0[i, :p, :f] = normalizer.normalize(encode_sequence(sequence))
        conditions.valid[i, :p, :f] = torch.from_numpy(sequence.valid)
        conditions.person_class[i, :p] = torch.from_numpy(
            own_numbers(sequence.person_class, PERSON_CLASSES, recipe.denoiser.person_classes, "person_class")
        )
        conditions.action[i, :p, :f] = torch.from_numpy(
            own_numbers(sequence.action, ACTIONS, recipe.denoiser.actions, "action")
        )
        conditions.identity[i] = torch.from_numpy(rng.permutation(recipe.denoiser.max_persons)[:persons])
    conditions = with_captions(conditions, captions, encode_text, recipe.denoiser)
    return DiffusionBatch(x0 * conditions.valid[..., None], conditions)


Captions = list[list[str | None]]
"""Captions per sample: first the scene caption, then one per person; None where there is none."""


def composed(
    sequences: Sequence[MotionSequence],
    captions: Captions,
    recipe: Recipe,
    body: Body,
    rng: np.random.Generator,
) -> tuple[list[MotionSequence], Captions]:
    """Put the clips together, two to `MAX_COMPOSED` at a time, each person with the caption of their own clip.

    All scenes of a batch are of as many clips, so that none is padded to the persons of another. One in three batches
    joins the captions into one scene caption, like a request for several persons in one sentence.
    """
    most = recipe.max_persons // max(sequence.num_persons for sequence in sequences)
    size = min(int(rng.integers(2, MAX_COMPOSED + 1)), most, len(sequences))
    if any(sequence.scene_id is not None for sequence in sequences) or size < 2:
        return list(sequences), captions
    together = rng.random() < 1 / 3
    scenes, joined = [], []
    for start in range(0, len(sequences) - size + 1, size):
        clips, texts = sequences[start : start + size], [row[0] for row in captions[start : start + size]]
        scenes.append(compose(clips, body, rng))
        own = [text for clip, text in zip(clips, texts, strict=True) for _ in range(clip.num_persons)]
        scene_caption = " while ".join(dict.fromkeys(text for text in texts if text is not None)) or None
        joined.append([scene_caption] if together else [None, *own])
    return scenes, joined


def length_batches(sizes: Sequence[tuple[int, ...]], batch_size: int, rng: np.random.Generator) -> list[list[int]]:
    """Group indices of clips of like `sizes` (persons, frames), so that little of a batch is padding.

    Clips that fill no batch are left out. The order of the batches is random, and the same on all workers that draw
    from the same `rng`.
    """
    order = sorted(range(len(sizes)), key=lambda index: (sizes[index], rng.random()))
    batches = [order[start : start + batch_size] for start in range(0, len(order) - batch_size + 1, batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


@dataclass(frozen=True)
class Loss:
    """Loss to minimize, and the parts of it to log."""

    total: Float[Tensor, ""]
    """Loss to minimize."""
    parts: dict[str, Float[Tensor, ""]]
    """Terms of the loss by name, detached."""


def diffusion_loss(
    network: nn.Module,
    schedule: NoiseSchedule,
    recipe: Recipe,
    batch: DiffusionBatch,
    normalizer: Normalizer,
    generator: torch.Generator,
) -> Loss:
    """Compute L_simple (eq. 2.14) at random timesteps, conditions dropped at random (eq. 2.21), and InterGen's losses.

    Constrained frames stay clean in x_t and take no part in L_simple. All draws are from `generator`, on the CPU.
    """
    x0, device, diffusion = batch.x0, batch.x0.device, recipe.diffusion
    t = torch.randint(schedule.num_steps, (len(x0),), generator=generator).to(device)
    noise = torch.randn(x0.shape, generator=generator).to(device)
    dropped = (torch.rand(len(x0), generator=generator) < diffusion.condition_dropout).to(device)
    conditions = thinned(batch.conditions, diffusion.kind_dropout, generator).without(dropped)
    conditions = replace(conditions, known=draw_known(conditions.valid, diffusion.known_share, generator))
    x_t = torch.where(conditions.known[..., None], x0, q_sample(schedule, x0, t, noise))
    output = network(x_t, t, conditions).float()
    wanted = target(schedule, diffusion.prediction, x0, t, noise)
    guessed = conditions.valid & ~conditions.known
    simple = l_simple(output, wanted, guessed, loss_weights(schedule, diffusion.prediction, t, diffusion.min_snr))
    if diffusion.t_bar < 0:
        return Loss(simple, {"simple": simple.detach()})
    estimate = predicted_x0(schedule, diffusion.prediction, output, x_t, t)
    metres = normalizer.to(device).denormalize
    guess = metres(torch.where(guessed[..., None], estimate, x0))
    added, terms = motion_losses(guess, metres(x0), conditions.valid, t, diffusion.t_bar, diffusion.losses)
    parts = {"simple": simple, **terms}
    return Loss(simple + added, {name: value.detach() for name, value in parts.items()})


def thinned(conditions: Conditions, share: float, generator: torch.Generator) -> Conditions:
    """Drop some conditions, each by itself: text and scene by sample, the class by person, the action by frame."""
    if share == 0:
        return conditions
    device = conditions.valid.device

    def drawn(shape: Sequence[int]) -> Tensor:
        return (torch.rand(tuple(shape), generator=generator) < share).to(device)

    for kind in ("text", "scene"):
        conditions = conditions.without(drawn(conditions.valid.shape[:1]), [kind])
    return replace(
        conditions,
        person_class=conditions.person_class * ~drawn(conditions.person_class.shape),
        action=conditions.action * ~drawn(conditions.action.shape),
    )


def draw_known(
    valid: Bool[Tensor, "batch person frame"], share: float, generator: torch.Generator
) -> Bool[Tensor, "batch person frame"]:
    """Draw frames to constrain, as editing would: the start, both ends, or some of the persons.

    True = constrained; something is always left to generate.
    """
    batch, persons, frames = valid.shape
    if share == 0:
        return torch.zeros_like(valid)
    kind = torch.randint(3, (batch, 1, 1), generator=generator)
    first, last = (
        torch.rand((2, batch, 1, 1), generator=generator) * torch.tensor([0.5, 0.3]).view(2, 1, 1, 1)
    ).unbind()
    length = valid.any(dim=1).sum(dim=1).cpu()[:, None, None]
    frame = torch.arange(frames)
    start, ends = frame < first * length, (frame < first * length) | (frame >= (1 - last) * length)
    given = torch.rand((batch, persons, 1), generator=generator) < 0.5
    given &= ~(given | ~valid.any(dim=2, keepdim=True).cpu()).all(dim=1, keepdim=True)  # one person is left to move
    known = torch.where(kind == 0, start, torch.where(kind == 1, ends, given))
    chosen = torch.rand((batch, 1, 1), generator=generator) < share
    return (known & chosen).to(valid.device) & valid


def learning_rate(recipe: Recipe, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up, then cosine decay to zero at the last step."""
    optim = recipe.optim
    if step < optim.warmup_steps:
        return optim.learning_rate * (step + 1) / optim.warmup_steps
    return optim.learning_rate * cosine_decay((step - optim.warmup_steps) / max(optim.steps - optim.warmup_steps, 1))
