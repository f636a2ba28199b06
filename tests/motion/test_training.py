"""Parts of a training step, and that they learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.denoiser import Denoiser, DenoiserConfig
from motion.diffusion import make_schedule
from motion.features import Moments, Normalizer, encode_sequence
from motion.recipes import DiffusionConfig, OptimConfig, Recipe, VariationConfig
from motion.sequence import MotionSequence
from motion.text import load_text_encoder
from motion.training import (
    DiffusionBatch,
    collate,
    diffusion_loss,
    draw_known,
    learning_rate,
    length_batches,
    thinned,
)
from tests.helpers.clips import random_clip
from tests.helpers.conditions import conditions

BODY = load_body()
RECIPE = Recipe(
    name="test",
    denoiser=DenoiserConfig(width=32, layers=2, heads=4, feedforward=64, text_dim=384, dropout=0.0),
    optim=OptimConfig(batch_size=4, steps=100, warmup_steps=10),
    max_frames=6,
    max_persons=3,
)

OURS = replace(
    RECIPE,
    denoiser=replace(
        RECIPE.denoiser, step="modulation", time="rotary", text="words", qk_norm=True, frames_per_token=4,
        height_map=True, editable=True,
    ),
    diffusion=DiffusionConfig(kind_dropout=0.2, known_share=0.5, min_snr=5.0, t_bar=700),
)  # fmt: skip
PLAIN = replace(OURS, diffusion=replace(OURS.diffusion, known_share=0.0, t_bar=-1))  # random clips have no physics


@pytest.fixture(scope="module")
def clips() -> list[MotionSequence]:
    return [
        random_clip(BODY, persons, frames, seed, f"clip{seed}")
        for seed, (persons, frames) in enumerate([(2, 7), (1, 4), (3, 6)])
    ]


@pytest.fixture(scope="module")
def normalizer(clips: list[MotionSequence]) -> Normalizer:
    return Moments.of(torch.cat([encode_sequence(clip).flatten(0, 1) for clip in clips])).normalizer()


def make_batch(
    clips: list[MotionSequence], normalizer: Normalizer, seed: int = 0, recipe: Recipe = RECIPE
) -> DiffusionBatch:
    return collate(clips, recipe, normalizer, load_text_encoder(), BODY, np.random.default_rng(seed))


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


def test_some_batches_are_scenes_put_together(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    """They have as many clips each; a person has the caption of their own clip, or all have all of them."""
    alone = [replace(clips[1], scene_id=None, texts=[name], id=name) for name in ("a", "b", "c", "d", "e")]
    recipe = replace(OURS, max_persons=3, variation=VariationConfig(composed=0.999))
    batches = [make_batch(alone, normalizer, seed, recipe) for seed in range(40)]
    shapes = [tuple(batch.x0.shape[:2]) for batch in batches]
    assert set(shapes) == {(2, 2), (1, 3)}
    told = [batch.conditions.text_valid[:, :, 0] for batch in batches]
    own = [row for row in told if row.shape[1] > 1]
    assert all(row[:, 0].logical_not().all() and row[:, 1:].all() for row in own)
    assert 0.15 < 1 - len(own) / len(told) < 0.55
    in_rooms = make_batch([replace(clip, scene_id="room") for clip in alone], normalizer, 0, recipe)
    assert in_rooms.x0.shape[:2] == (5, 1), "who has a room stays there"


def test_a_mirrored_clip_changes_sides(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    clip = replace(clips[1], scene_id=None, texts=["a person raises the left hand"])
    recipe = replace(RECIPE, variation=VariationConfig(mirrored=0.5))
    x0 = torch.cat([make_batch([clip], normalizer, seed, recipe).x0 for seed in range(30)])
    pelvis = normalizer.denormalize(x0)[:, 0, :4, 0]
    sides = (pelvis + pelvis[:1]).abs().amax(dim=1) < 1e-4
    assert 5 < sides.sum() < 25
    assert torch.allclose(pelvis[~sides], pelvis[~sides][:1])


def test_batches_are_of_like_length_and_show_each_clip_once() -> None:
    sizes = [(1 + index % 2, 30 + index) for index in range(97)]
    batches = length_batches(sizes, 8, np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [8] * 12
    shown = [index for batch in batches for index in batch]
    assert len(set(shown)) == 96
    spans = [max(sizes[i][1] for i in batch) - min(sizes[i][1] for i in batch) for batch in batches]
    assert np.median(spans) <= 16, "each second of 97 lengths is of the same number of persons"
    assert [batch[0] for batch in batches] != sorted(batch[0] for batch in batches)
    assert batches == length_batches(sizes, 8, np.random.default_rng(0))


@pytest.mark.parametrize("recipe", [RECIPE, OURS], ids=["thesis", "ours"])
def test_loss_is_finite_and_blind_to_padding(
    clips: list[MotionSequence], normalizer: Normalizer, recipe: Recipe
) -> None:
    torch.manual_seed(0)
    network = Denoiser(recipe.denoiser).eval()
    schedule = make_schedule("cosine", 1000)
    batch = make_batch(clips, normalizer, recipe=recipe)
    spoiled = DiffusionBatch(
        torch.where(batch.conditions.valid[..., None], batch.x0, torch.full_like(batch.x0, 50.0)),
        batch.conditions,
    )
    losses = [
        diffusion_loss(network, schedule, recipe, each, normalizer, torch.Generator().manual_seed(2)).total.item()
        for each in (batch, spoiled)
    ]
    assert np.isfinite(losses[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("recipe", [RECIPE, PLAIN], ids=["thesis", "ours"])
def test_it_learns(clips: list[MotionSequence], normalizer: Normalizer, recipe: Recipe) -> None:
    """Half of the loss goes within 60 steps on three clips."""
    torch.manual_seed(0)
    network = Denoiser(recipe.denoiser)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    schedule, generator = make_schedule("cosine", 1000), torch.Generator().manual_seed(0)
    batch = make_batch(clips, normalizer, recipe=recipe)
    losses = []
    for _ in range(60):
        loss = diffusion_loss(network, schedule, recipe, batch, normalizer, generator).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_parts_of_the_loss_add_up(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    network, batch = Denoiser(OURS.denoiser), make_batch(clips, normalizer, recipe=OURS)
    loss = diffusion_loss(network, make_schedule("cosine", 1000), OURS, batch, normalizer, torch.Generator())
    assert set(loss.parts) == {"simple", *vars(OURS.diffusion.losses)}
    assert loss.total.item() == pytest.approx(sum(part.item() for part in loss.parts.values()))


def test_what_is_thinned_is_taken_away_by_itself() -> None:
    given = conditions(4000, 2, 3, 8, groups=1, heights=True)
    given.person_class.fill_(2)
    given.action.fill_(3)
    thin = thinned(given, 0.25, torch.Generator().manual_seed(0))
    kept = {
        "text": thin.text_valid[:, 0, 0],
        "scene": thin.points_valid[:, 0],
        "class": thin.person_class[:, 0] > 0,
        "other class": thin.person_class[:, 1] > 0,
        "action": thin.action[:, 0, 0] > 0,
        "later action": thin.action[:, 0, 1] > 0,
    }
    together = torch.stack(list(kept.values())).double()
    assert together.mean(dim=1) == pytest.approx(torch.full((6,), 0.75), abs=0.03)
    assert (torch.corrcoef(together) - torch.eye(6)).abs().max() < 0.06
    assert torch.equal(thin.heights.any(dim=-1).any(dim=-1).any(dim=-1), kept["scene"])
    assert torch.equal(thin.valid, given.valid)


def test_known_frames_are_those_of_editing() -> None:
    valid = torch.ones(3000, 3, 20, dtype=torch.bool)
    valid[::2, 2] = False
    valid[::3, :, 15:] = False
    known = draw_known(valid, 0.5, torch.Generator().manual_seed(0))
    assert not (known & ~valid).any()
    left = valid & ~known
    assert left.any(dim=(1, 2)).all()
    assert known.any(dim=(1, 2)).double().mean() == pytest.approx(0.45, abs=0.08)
    whole = (known | ~valid).all(dim=2) & valid.any(dim=2)
    assert 0.05 < (whole.any(dim=1) & left.any(dim=(1, 2))).double().mean() < 0.2, "some persons are given whole"
    assert not draw_known(valid, 0.0, torch.Generator()).any()


def test_learning_rate_warms_up_and_decays() -> None:
    rates = [learning_rate(RECIPE, step) for step in range(101)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == rates[10] == pytest.approx(1e-4)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)
