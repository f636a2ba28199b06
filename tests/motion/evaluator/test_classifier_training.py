"""Training of the action classifier: labels, stretches, the loss, and what is learnt from noise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from motion.body import load_body
from motion.clips.augment import translate
from motion.clips.transforms import crop
from motion.evaluator import ActionClassifier
from motion.evaluator.classifier_training import (
    Example,
    accuracy,
    action_labels,
    classifier_loss,
    fit,
    one_cycle,
    placed_anew,
    prevailing,
)
from motion.features import POSITIONS, VELOCITIES, Normalizer, encode_sequence
from motion.sequence import MotionSequence
from tests.helpers.classifiers import SCHEDULE, clip, noised, random_classifier
from tests.helpers.clips import motion


def test_it_learns_from_noise_what_it_tells_of_others(
    trained: ActionClassifier, data: tuple[list[MotionSequence], list[np.ndarray], Normalizer]
) -> None:
    """The classifier judges motions that it has not seen, elsewhere in the world; worse at higher noise."""
    body, normalizer = load_body(), data[2]
    place = np.array([1.5, -1], dtype=np.float32)
    others = [translate(clip(body, seed % 2, seed), place, body) for seed in range(100, 120)]
    truth = [np.array([seed % 2, seed % 2]) for seed in range(100, 120)]
    found = [accuracy(trained, SCHEDULE, others, truth, normalizer, t) for t in (None, 0, 600, 999)]
    assert min(found[:2]) > 0.9
    assert found[2] > 0.8
    assert found[3] < 0.75
    assert accuracy(trained, SCHEDULE, others, [1 - each for each in truth], normalizer) == pytest.approx(1 - found[0])
    assert math.isnan(accuracy(trained, SCHEDULE, others, [each * 0 - 1 for each in truth], normalizer))


def test_a_judge_learns_from_motions_as_they_are(
    data: tuple[list[MotionSequence], list[np.ndarray], Normalizer], trained: ActionClassifier
) -> None:
    judge = fit(trained.config, SCHEDULE, *data, steps=20, learning_rate=1e-2, noisy=False)
    again = fit(trained.config, SCHEDULE, *data, steps=20, learning_rate=1e-2, noisy=False)
    assert accuracy(judge, SCHEDULE, *data) > 0.9
    assert torch.equal(judge.output.weight, again.output.weight), "the same seed, the same judge"


def test_the_loss_hangs_on_labelled_persons_alone() -> None:
    network, (x, t, valid) = random_classifier(), noised()
    labels = torch.tensor([[0, -1, -1], [1, -1, 2]])

    def loss(x: Tensor, labels: Tensor, noisy: bool) -> Tensor:
        return classifier_loss(network, SCHEDULE, x, valid, labels, torch.Generator().manual_seed(0), noisy)

    other = x.clone()
    other[labels < 0] += 3
    for noisy in (True, False):
        torch.testing.assert_close(loss(other, labels, noisy), loss(x, labels, noisy))
        assert (loss(x, labels.clamp_min(0), noisy) - loss(x, labels, noisy)).abs() > 1e-3
        assert loss(x, torch.full_like(labels, -1), noisy) == 0
    clean = network(x, torch.zeros_like(t), valid).log_softmax(dim=-1)
    expected = -(clean[0, 0, 0] + clean[1, 0, 1] + clean[1, 2, 2]) / 3
    torch.testing.assert_close(loss(x, labels, False), expected)
    assert (loss(x, labels, True) - expected).abs() > 1e-3


def test_a_person_has_the_label_of_most_of_their_valid_frames() -> None:
    labels = torch.tensor([[0, 0, 2, 2, 2], [0, 0, 2, 2, 2], [-1, -1, -1, 1, 1], [1, 1, 1, 1, 1]])
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[1, 3:], valid[3] = False, False
    assert prevailing(labels, valid).tolist() == [2, 0, -1, -1]
    clip = motion(load_body(), frames=41)  # its actions are 0, 1, 2, 3 and 4 for ten frames each
    codes = action_labels(clip, ("laying_on_floor", "laying_in_bed"))
    assert codes[0, ::10].tolist() == [-1, 1, 0, -1, -1]


def test_stretches_and_new_places_are_those_of_motions() -> None:
    body = load_body()
    whole = motion(body)
    example = Example.of(whole, action_labels(whole, ("kneeling", "crawling"))).stretch(5, 20)
    assert torch.equal(example.features, encode_sequence(crop(whole, 5, 25)))
    moved = placed_anew(example.features, np.random.default_rng(0))
    before, after = (each[..., POSITIONS].unflatten(-1, (24, 3)) for each in (example.features, moved))
    torch.testing.assert_close(after[..., 2], before[..., 2])
    torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before), atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[:, 1:, VELOCITIES], after.diff(dim=1).flatten(-2), atol=1e-5, rtol=0)
    assert not moved[:, 0, VELOCITIES].any()
    assert torch.equal(moved[..., VELOCITIES.stop :], example.features[..., VELOCITIES.stop :])
    assert (after - before)[..., :2].abs().amin(dim=(1, 2, 3)).max() < (after - before)[..., :2].abs().amax()
    ways = (after - before)[:, 0, 0, :2]
    assert (ways[0] - ways[1]).norm() > 0.1, "each person has a place of their own"


@pytest.mark.parametrize("steps", [*range(1, 25), 300])
def test_a_training_of_any_length_rises_and_falls(steps: int) -> None:
    """Ten steps divided by zero: a tenth of them is the one step that torch's schedule cannot rise in."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters())
    schedule, rates = one_cycle(optimizer, 0.1, steps), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    top = int(torch.tensor(rates).argmax())
    assert max(rates) <= 0.1
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps == 300:
        assert (top, max(rates)) == (29, pytest.approx(0.1))
        assert rates[-1] < 1e-6
