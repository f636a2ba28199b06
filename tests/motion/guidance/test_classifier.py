"""Classifier guidance: exact where the classifier is, bounded near noise, and for nobody who does not ask."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from motion.diffusion import q_sample, signal_and_noise
from motion.evaluator import ActionClassifier
from motion.evaluator.classifier_training import classifier_loss, training_step
from motion.guidance import ClassifierGuidance
from motion.guidance.classifier import MAX_SHIFT_STD
from motion.samplers import ddim, dpmpp_2m, respaced, sample, trailing
from tests.helpers.classifiers import CONFIG, SCHEDULE, guidance, noised, random_classifier


class TwoGaussians(nn.Module):
    """Exact classifier of x_0 ~ N(±middle, spread² I), each half of the time, and the exact denoiser."""

    def __init__(self, middle: Tensor, spread: float) -> None:
        super().__init__()
        self.middle, self.spread = middle, spread

    def forward(self, x_t: Tensor, t: Tensor, valid: Tensor) -> Tensor:
        signal, noise = signal_and_noise(SCHEDULE, t, x_t)
        evidence = signal * self.middle * x_t / (signal**2 * self.spread**2 + noise**2)
        total = evidence.sum(dim=(2, 3))
        return torch.stack([total, -total], dim=-1)

    def conditional(self, x_t: Tensor, t: Tensor, sign: Tensor) -> Tensor:
        """Compute the conditional estimate E[x_0 | x_t, which of the two]."""
        signal, noise = signal_and_noise(SCHEDULE, t, x_t)
        gain = signal * self.spread**2 / (signal**2 * self.spread**2 + noise**2)
        return sign * self.middle + gain * (x_t - signal * sign * self.middle)

    def unconditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Compute the unconditional estimate E[x_0 | x_t]."""
        first = self(x_t, t, x_t[..., 0] == 0).softmax(dim=-1)[..., :1, None]
        return first * self.conditional(x_t, t, x_t.new_ones(1)) + (1 - first) * self.conditional(
            x_t, t, -x_t.new_ones(1)
        )


def test_an_exact_classifier_makes_the_unconditional_estimate_the_conditional_one() -> None:
    """E[x_0 | x_t] becomes E[x_0 | x_t, y] at s = 1 in eq. 2.20, at every noise level."""
    t = torch.arange(1000)
    middle = torch.linspace(-0.5, 0.5, 6, dtype=torch.float64).expand(4, 6) / 2
    exact = TwoGaussians(middle, spread=0.4)
    labels = (t % 2)[:, None]
    x_0 = (1 - 2 * labels)[..., None, None] * middle + 0.4 * torch.randn(1000, 1, 4, 6, dtype=torch.float64)
    x_t = q_sample(SCHEDULE, x_0, t.flip(0), torch.randn_like(x_0))
    valid = torch.ones(1000, 1, 4, dtype=torch.bool)
    for asked in (labels, 1 - labels):
        guided = guidance(exact, valid, asked)(exact.unconditional(x_t, t.flip(0)), x_t, t.flip(0))
        conditional = exact.conditional(x_t, t.flip(0), (1 - 2 * asked)[..., None, None].double())
        torch.testing.assert_close(guided, conditional, atol=1e-9, rtol=0)


def shares_of_first(made: Tensor) -> tuple[float, float]:
    """Compute the share of the first Gaussian among samples with an even number, and among those with an odd one."""
    first = (made.mean(dim=(1, 2, 3)) > 0).float()
    return float(first[::2].mean()), float(first[1::2].mean())


def test_samples_are_of_the_class_that_each_asks_for() -> None:
    exact, labels = TwoGaussians(torch.full((3, 6), 0.3), spread=0.3), torch.arange(200)[:, None] % 2
    noise, valid = torch.randn(200, 1, 3, 6), torch.ones(200, 1, 3, dtype=torch.bool)

    def made(scale: float) -> Tensor:
        guide = guidance(exact, valid, labels, scale)
        denoise = lambda x_t, t: guide(exact.unconditional(x_t, t), x_t, t)  # noqa: E731
        with torch.inference_mode():
            return sample(denoise, SCHEDULE, ddim, respaced(1000, 20), lambda: noise)

    assert shares_of_first(made(0.0)) == pytest.approx((0.5, 0.5), abs=0.12)
    some, all_ = shares_of_first(made(0.3)), shares_of_first(made(1.0))
    assert some[0] > 0.6
    assert some[1] < 0.4
    assert all_[0] > 0.97
    assert all_[1] < 0.03


def test_a_learnt_classifier_guides_from_pure_noise_and_samples_stay_where_the_data_are() -> None:
    """UniPC's and DPM-Solver's steps begin where 1 / sqrt(ᾱ) is 20,000: the least error would throw samples far off."""
    exact, labels = TwoGaussians(torch.full((4, 6), 0.7), spread=0.7), torch.arange(200)[:, None] % 2
    network = ActionClassifier(replace(CONFIG, names=("one", "two"), layers=1)).train()
    optimizer, steps = torch.optim.AdamW(network.parameters(), 1e-2), 120
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    noise, valid = torch.randn(200, 1, 4, 6), torch.ones(200, 1, 4, dtype=torch.bool)
    for step in range(steps):
        x_0 = (1 - 2 * labels)[..., None, None] * exact.middle + 0.7 * torch.randn(200, 1, 4, 6)
        generator = torch.Generator().manual_seed(step)
        training_step(network, optimizer, rates, classifier_loss(network, SCHEDULE, x_0, valid, labels, generator))
    guide = guidance(network.eval(), valid, labels)
    denoise = lambda x_t, t: guide(exact.unconditional(x_t, t), x_t, t)  # noqa: E731
    with torch.inference_mode():
        made = sample(denoise, SCHEDULE, dpmpp_2m, trailing(1000, 10), lambda: noise)
    asked, other = shares_of_first(made)
    assert asked > 0.9
    assert other < 0.1
    assert made[::2].mean() == pytest.approx(0.7, abs=0.2)
    assert made[1::2].mean() == pytest.approx(-0.7, abs=0.2)


def test_the_gradient_is_that_of_finite_differences() -> None:
    network, (x_t, t, valid) = random_classifier(), noised()
    labels = torch.tensor([[0, 2, 1], [1, 0, 2]])
    guide = guidance(network, valid, labels, scale=1e-3)  # small enough not to be cut
    alphas = SCHEDULE.alphas_cumprod[t]
    gradient = guide(torch.zeros_like(x_t), x_t, t) / (1e-3 * (1 - alphas) / alphas.sqrt()).view(-1, 1, 1, 1)

    def log_probability(x: Tensor) -> Tensor:
        chosen = network(x, t, valid).log_softmax(dim=-1).gather(2, labels[..., None])[..., 0]
        return (chosen * valid.any(dim=2)).sum(dim=1)

    for _ in range(3):
        way = torch.randn_like(x_t)
        expected = (log_probability(x_t + 1e-5 * way) - log_probability(x_t - 1e-5 * way)) / 2e-5
        torch.testing.assert_close((gradient * way).sum(dim=(1, 2, 3)), expected, rtol=1e-5, atol=1e-8)
    assert gradient.abs().sum(dim=(2, 3))[valid.any(dim=2)].min() > 1e-3
    assert not gradient[~valid].any()


def test_who_is_asked_nothing_comes_back_to_the_bit() -> None:
    """Scale 0, no label, nobody valid, or a step outside of start to stop; each sample has its own, and its own t."""
    network = random_classifier().float()
    valid = torch.ones(6, 2, 8, dtype=torch.bool)
    valid[4] = False
    guide = ClassifierGuidance(
        classifier=network,
        schedule=SCHEDULE,
        valid=valid,
        labels=torch.tensor([[0, 1], [0, 1], [-1, 2], [-1, -1], [0, 1], [0, 1]]),
        scale=torch.tensor([0.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        start=torch.tensor([0.0, 0.2, 0.0, 0.0, 0.0, 0.6]),
        stop=torch.tensor([1.0, 0.6, 1.0, 1.0, 1.0, 1.0]),
    )
    x0, x_t = torch.randn(2, 6, 2, 8, CONFIG.num_features).unbind()
    with torch.inference_mode():
        guided = guide(x0, x_t, torch.full((6,), 500))
        late = guide(x0, x_t, torch.full((6,), 300))
    changed = [[not torch.equal(a, b) for a, b in zip(*each, strict=True)] for each in zip(guided, x0, strict=True)]
    assert changed == [[False, False], [True, True], [False, True], [False, False], [False, False], [False, False]]
    assert torch.equal(late[1], x0[1])
    assert not torch.equal(late[5], x0[5])


def test_near_pure_noise_the_shift_is_bounded() -> None:
    network, (x_t, _, valid) = random_classifier(), noised()
    labels = torch.tensor([[0, 2, 1], [1, 0, 2]])
    shift = guidance(network, valid, labels, 50.0)(torch.zeros_like(x_t), x_t, torch.full((2,), 999))
    sizes = (shift.square().sum(dim=(2, 3)) / valid.sum(dim=2).clamp_min(1) / CONFIG.num_features).sqrt()
    torch.testing.assert_close(sizes, MAX_SHIFT_STD * valid.any(dim=2).double())
