"""One training step's parts, and that they learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.denoiser import Denoiser, DenoiserConfig
from motion.diffusion import make_schedule
from motion.features import Moments, Normalizer, encode_sequence
from motion.recipes import OptimConfig, Recipe
from motion.sequence import MotionSequence
from motion.text import load_text_encoder
from motion.training import Batch, Ema, collate, diffusion_loss, learning_rate
from tests.motion.clips import random_clip

BODY = load_body()
RECIPE = Recipe(
    name="test",
    denoiser=DenoiserConfig(width=32, layers=2, heads=4, feedforward=64, text_dim=384, dropout=0.0),
    optim=OptimConfig(batch_size=4, steps=100, warmup_steps=10),
    max_frames=6,
    max_persons=3,
)


@pytest.fixture(scope="module")
def clips() -> list[MotionSequence]:
    return [
        random_clip(BODY, persons, frames, seed, f"clip{seed}")
        for seed, (persons, frames) in enumerate([(2, 7), (1, 4), (3, 6)])
    ]


@pytest.fixture(scope="module")
def normalizer(clips: list[MotionSequence]) -> Normalizer:
    return Moments.of(torch.cat([encode_sequence(clip).flatten(0, 1) for clip in clips])).normalizer()


def make_batch(clips: list[MotionSequence], normalizer: Normalizer, seed: int = 0) -> Batch:
    return collate(clips, RECIPE, normalizer, load_text_encoder(), BODY, np.random.default_rng(seed))


def test_collate_crops_pads_and_masks(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    batch = make_batch(clips, normalizer)
    assert batch.x0.shape == (3, 3, 6, 282), "7 frames are cropped to 6, persons padded to 3"
    assert batch.conditions.valid.sum(dim=(1, 2)).tolist() == [2 * 6, 1 * 4, 3 * 6]
    assert (batch.x0[~batch.conditions.valid] == 0).all()
    features = normalizer.denormalize(batch.x0[1, 0, :4])
    torch.testing.assert_close(features, encode_sequence(clips[1])[0], atol=1e-4, rtol=1e-4)
    assert batch.conditions.person_class[1].tolist() == [2, 0, 0]
    assert all(len(set(row.tolist())) == 3 for row in batch.conditions.identity), "identities are distinct"


def test_a_crop_starts_anew_at_the_origin(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    positions = normalizer.denormalize(make_batch(clips, normalizer).x0)[0, 0, 0, :3]
    assert positions[:2].abs().max() < 1e-4


def test_a_clip_without_captions_is_unconditional(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    silent = [replace(clips[0], texts=[]), clips[1]]
    assert make_batch(silent, normalizer).conditions.text_valid.flatten().tolist() == [False, True]


def test_the_same_seed_gives_the_same_batch(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    one, other, third = (make_batch(clips, normalizer, seed) for seed in (5, 5, 6))
    assert torch.equal(one.x0, other.x0)
    assert torch.equal(one.conditions.identity, other.conditions.identity)
    assert not torch.equal(one.conditions.identity, third.conditions.identity)


def test_loss_is_finite_and_blind_to_padding(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    torch.manual_seed(0)
    network = Denoiser(RECIPE.denoiser).eval()
    schedule = make_schedule("cosine", 1000)
    batch = make_batch(clips, normalizer)
    spoiled = Batch(
        torch.where(batch.conditions.valid[..., None], batch.x0, torch.full_like(batch.x0, 50.0)),
        batch.conditions,
    )
    losses = [
        diffusion_loss(network, schedule, RECIPE, each, torch.Generator().manual_seed(2)).item()
        for each in (batch, spoiled)
    ]
    assert np.isfinite(losses[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_it_learns(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    """Half of the loss goes within 60 steps on three clips."""
    torch.manual_seed(0)
    network = Denoiser(RECIPE.denoiser)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule, generator = make_schedule("cosine", 1000), torch.Generator().manual_seed(0)
    batch = make_batch(clips, normalizer)
    losses = []
    for _ in range(60):
        loss = diffusion_loss(network, schedule, RECIPE, batch, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_learning_rate_warms_up_and_decays() -> None:
    rates = [learning_rate(RECIPE, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == rates[10] == pytest.approx(1e-4)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_ema_follows_slowly_and_forgets_the_start() -> None:
    network = Denoiser(RECIPE.denoiser)
    ema = Ema(network, decay=0.9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    for step in range(200):
        ema.update(network.parameters(), step)
    assert all((average - 1).abs().max() < 1e-4 for average in ema.network.parameters())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(2.0)
    ema.update(network.parameters(), 200)
    assert all((average - 1.1).abs().max() < 1e-4 for average in ema.network.parameters())
