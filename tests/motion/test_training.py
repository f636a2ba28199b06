"""Parts of a training step, and that they learn."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from motion.body import load_body
from motion.denoiser import Conditions, Denoiser, DenoiserConfig
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


def test_each_paraphrase_is_learnt(clips: list[MotionSequence], normalizer: Normalizer) -> None:
    texts = ["a person walks", "somebody strolls", "walking"]
    said = load_text_encoder()(texts)
    batch = make_batch([replace(clips[1], texts=texts)] * 300, normalizer)
    of = torch.cdist(batch.conditions.text[:, 0, 0], said).argmin(dim=1)
    torch.testing.assert_close(batch.conditions.text[:, 0, 0], said[of], atol=1e-5, rtol=0)
    assert of.bincount(minlength=3).min() > 70


def test_each_person_of_a_scene_put_together_has_the_caption_of_their_own_clip(normalizer: Normalizer) -> None:
    """Clips are told apart by their action; two of a clip's persons share its caption."""
    said = {
        1: "a person walks",
        2: "somebody falls",
        3: "two people dance",
        4: "they shake hands",
        5: "a fall",
        6: "a jump",
    }
    alone = [named(1, action, said[action]) for action in (1, 2, 5, 6)]
    pairs = [named(2, action, said[action]) for action in (3, 4)]
    recipe = replace(RECIPE, max_persons=4, variation=VariationConfig(composed=0.999))
    together = 0
    for seed in range(30):
        conditions = make_batch(alone if seed % 2 else pairs, normalizer, seed, recipe).conditions
        for actions, text, told in zip(conditions.action[:, :, 0], conditions.text, conditions.text_valid, strict=True):
            own = [said[int(action)] for action in actions]
            together += len(text) == 1
            wanted = [" while ".join(dict.fromkeys(own))] if len(text) == 1 else own
            assert told.flatten().tolist() == ([True] if len(text) == 1 else [False, *[True] * len(own)])
            torch.testing.assert_close(text[-len(wanted) :, 0], load_text_encoder()(wanted), atol=1e-5, rtol=0)
    assert 0 < together < 30


def named(persons: int, action: int, text: str) -> MotionSequence:
    clip = random_clip(BODY, persons, 4, action)
    return replace(clip, scene_id=None, texts=[text], action=np.full_like(clip.action, action))


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


class Recorder(nn.Module):
    """Network that remembers what it was given, and returns zeros or what `answer` makes of that."""

    def __init__(self, answer: Callable[[Tensor, Conditions], Tensor] = lambda x_t, _: torch.zeros_like(x_t)) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x_t: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        self.x_t, self.t, self.conditions = x_t, t, conditions
        return self.answer(x_t, conditions)


def many(samples: int, persons: int = 2, frames: int = 5) -> DiffusionBatch:
    """Draw features, every condition told; the second person of every third sample is there for three frames."""
    told = conditions(samples, persons, frames, 8, groups=1, heights=True)
    told.person_class.fill_(2)
    told.action.fill_(3)
    told.valid[::3, 1:, 3:] = False
    x0 = torch.randn(samples, persons, frames, 282, generator=torch.Generator().manual_seed(5))
    return DiffusionBatch((2 * x0 + 1) * told.valid[..., None], told)


def cosine_alphas(t: Tensor) -> Tensor:
    """Restate eq. 2.15 for 1,000 steps, t = 0 … 999, in double precision."""
    signal = torch.cos((torch.arange(1001, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2
    return torch.cumprod((signal[1:] / signal[:-1]).clamp_min(0.001), dim=0)[t]


def loss_of(recorder: Recorder, recipe: Recipe, batch: DiffusionBatch, normalizer: Normalizer) -> float:
    schedule, generator = make_schedule("cosine", 1000), torch.Generator().manual_seed(4)
    return diffusion_loss(recorder, schedule, recipe, batch, normalizer, generator).total.item()


def diffused(**changes: Any) -> Recipe:
    return replace(OURS, diffusion=DiffusionConfig(**changes))


def test_every_sample_gets_a_time_of_its_own_from_the_whole_schedule(normalizer: Normalizer) -> None:
    recorder = Recorder()
    loss_of(recorder, diffused(), many(4000, 1, 1), normalizer)
    assert recorder.t.unique().numel() > 900
    assert (recorder.t.min().item(), recorder.t.max().item()) == (pytest.approx(0, abs=9), pytest.approx(999, abs=9))
    assert recorder.t.double().mean() == pytest.approx(499.5, abs=20)
    assert recorder.t.double().std() == pytest.approx(1000 / math.sqrt(12), abs=10)


@pytest.mark.parametrize(("kinds", "told"), [(0.0, 0.75), (0.4, 0.75 * 0.6)])
def test_samples_without_conditions_and_conditions_without_others_are_shown(
    kinds: float, told: float, normalizer: Normalizer
) -> None:
    recorder = Recorder()
    loss_of(recorder, diffused(condition_dropout=0.25, kind_dropout=kinds), many(3000), normalizer)
    shown = recorder.conditions
    by_kind = torch.stack(
        [
            shown.text_valid.all(dim=(1, 2)),
            shown.points_valid.all(dim=1) & shown.heights.any(dim=(1, 2, 3)),
            shown.person_class[:, 1] == 2,
            shown.action[:, 0, 4] == 3,
        ]
    )
    assert by_kind.double().mean(dim=1) == pytest.approx(torch.full((4,), told), abs=0.03)
    nothing = (~by_kind).all(dim=0).double().mean()
    assert nothing == pytest.approx(0.25 + 0.75 * kinds**4, abs=0.03)


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize("min_snr", [None, 5.0])
def test_the_loss_is_the_error_of_what_is_predicted_where_it_is_guessed(
    prediction: Literal["epsilon", "x0", "v"], min_snr: float | None, normalizer: Normalizer
) -> None:
    """The noise is read out of x_t; known frames are clean there and do not count (eq. 2.7, 2.14)."""
    recorder, batch = Recorder(), many(400)
    recipe = diffused(prediction=prediction, min_snr=min_snr, known_share=0.6)
    loss = loss_of(recorder, recipe, batch, normalizer)
    known, valid, x0 = recorder.conditions.known, batch.conditions.valid, batch.x0.double()
    assert 0.1 < known[valid].double().mean() < 0.5
    assert torch.equal(recorder.x_t[known], batch.x0[known])
    alphas = cosine_alphas(recorder.t).view(-1, 1, 1, 1)
    noise = (recorder.x_t.double() - alphas.sqrt() * x0) / (1 - alphas).sqrt()
    guessed = valid & ~known
    assert noise[guessed].mean() == pytest.approx(0, abs=0.01)
    assert noise[guessed].std() == pytest.approx(1, abs=0.01)
    snr = alphas / (1 - alphas)
    wanted, per_x0 = {
        "epsilon": (noise, snr),
        "x0": (x0, torch.ones_like(snr)),
        "v": (alphas.sqrt() * noise - (1 - alphas).sqrt() * x0, snr + 1),
    }[prediction]
    weight = torch.ones_like(snr) if min_snr is None else snr.clamp_max(min_snr) / per_x0
    assert loss == pytest.approx((wanted.square() * weight)[guessed].mean().item(), rel=1e-3)


def test_the_losses_of_geometry_look_at_guessed_frames_alone(
    clips: list[MotionSequence], normalizer: Normalizer
) -> None:
    """A network that is right where it guesses and wild where frames are known has no loss."""
    batch = make_batch(clips, normalizer)
    wild = Recorder(lambda x_t, told: torch.where(told.known[..., None], 100.0, batch.x0))
    assert loss_of(wild, diffused(known_share=0.999, t_bar=999), batch, normalizer) == pytest.approx(0, abs=1e-6)
    assert wild.conditions.known.any()
    blind = Recorder()
    parts = [loss_of(blind, diffused(t_bar=t_bar), batch, normalizer) for t_bar in (-1, 999)]
    assert parts[1] > 2 * parts[0]


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
