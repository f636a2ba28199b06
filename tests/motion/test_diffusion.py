"""Schedules, targets and sampler steps against the reference code's numbers, diffusers and identities."""

import json
from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from motion.diffusion import (
    NoiseSchedule,
    coefficient,
    cosine_schedule,
    epsilon_from_x0,
    l_simple,
    linear_schedule,
    loss_weights,
    make_schedule,
    predicted_x0,
    q_sample,
    target,
)
from motion.errors import InputError
from motion.guidance import ClassifierFree
from motion.samplers import SAMPLERS, History, Step, ddim, ddpm, respaced, sample

SCHEDULES = ("linear", "cosine")
PREDICTIONS = ("epsilon", "x0", "v")


def test_a_schedule_shows_itself_in_one_line() -> None:
    assert repr(linear_schedule()) == "NoiseSchedule: 1,000 steps, ᾱ from 0.9999 to 4e-05"


def after(
    step: Step,
    schedule: NoiseSchedule,
    x_t: torch.Tensor,
    x0: torch.Tensor,
    t: torch.Tensor,
    t_next: torch.Tensor,
    draw_noise: Callable[[], torch.Tensor],
) -> torch.Tensor:
    """Take a step with nothing before it."""
    return step(schedule, x_t, x0, t, t_next, History.none(x_t), draw_noise)[0]


@pytest.fixture
def reference(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "diffusion" / "intergen.npz"))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1000, 50])
def test_golden_schedules(golden: Path, reference: dict[str, np.ndarray], name: str, steps: int) -> None:
    schedule = make_schedule(name, steps)
    for field in ("betas", "alphas_cumprod"):
        np.testing.assert_allclose(getattr(schedule, field), reference[f"{name}{steps}.{field}"], rtol=1e-10)


def test_golden_respacing(golden: Path) -> None:
    table = json.loads((golden / "diffusion" / "intergen.json").read_text())
    for count in (5, 10, 20, 25, 30, 50, 100):
        assert respaced(1000, count)[::-1] == table[f"space_timesteps(1000, 'ddim{count}')"]
    with pytest.raises(InputError, match="no integer stride"):
        respaced(1000, 60)


@pytest.mark.parametrize("table", [f"{name}{kind}" for name in SCHEDULES for kind in ("1000", "50", "1000_ddim50")])
def test_golden_posterior(golden: Path, reference: dict[str, np.ndarray], table: str) -> None:
    """Mean and variance of the step down from every timestep agree in double precision, respaced as well."""
    expected = {
        key.removeprefix(f"{table}."): torch.from_numpy(value)
        for key, value in reference.items()
        if key.startswith(f"{table}.")
    }
    name, steps = ("linear", table[6:]) if table.startswith("linear") else ("cosine", table[6:])
    schedule = make_schedule(name, int(steps.removesuffix("_ddim50")))
    t = expected.get("timestep_map", torch.arange(schedule.num_steps))
    t_next = torch.cat([torch.tensor([-1]), t[:-1]])
    zero, one = torch.zeros(len(t), 1).double(), torch.ones(len(t), 1).double()
    deviation = after(ddpm, schedule, zero, zero, t, t_next, lambda: one)
    for found, key in (
        (deviation.square(), "posterior_variance"),
        (after(ddpm, schedule, zero, one, t, t_next, lambda: zero), "posterior_mean_coef1"),
        (after(ddpm, schedule, one, zero, t, t_next, lambda: zero), "posterior_mean_coef2"),
    ):
        torch.testing.assert_close(found[:, 0], expected[key], rtol=1e-9, atol=1e-15)
    first = expected["posterior_variance"][1:2]  # theirs has no logarithm of the last step's 0, and takes the next
    clipped = torch.cat([first, deviation[1:, 0].square()]).log()
    torch.testing.assert_close(clipped, expected["posterior_log_variance_clipped"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_golden_single_steps(golden: Path, reference: dict[str, np.ndarray], name: str) -> None:
    """Samples of q, the posterior mean and variance, ε from x_0 and back agree at t = 0 … 999."""
    schedule = make_schedule(name, 1000)
    values = {
        key.rsplit(".", 1)[1]: torch.from_numpy(value)
        for key, value in reference.items()
        if key.startswith(f"step.{name}.")
    }
    t, x0, x_t, noise = values["t"], values["x_start"], values["x_t"], values["noise"]
    torch.testing.assert_close(q_sample(schedule, x0, t, noise), values["q_sample"], atol=1e-6, rtol=0)
    zero = torch.zeros_like
    mean = after(ddpm, schedule, x_t, x0, t, t - 1, lambda: zero(x_t))
    torch.testing.assert_close(mean, values["posterior_mean"], atol=1e-5, rtol=1e-5)
    deviation = after(ddpm, schedule, zero(x_t), zero(x0), t, t - 1, lambda: torch.ones_like(x_t))
    torch.testing.assert_close(deviation.square(), values["posterior_variance"], atol=1e-7, rtol=1e-4)
    torch.testing.assert_close(epsilon_from_x0(schedule, x0, x_t, t), values["eps_from_xstart"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        predicted_x0(schedule, "epsilon", noise, x_t, t), values["xstart_from_eps"], atol=1e-4, rtol=1e-4
    )


def stated_models() -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Return the closed-form networks that the golden trajectories were sampled with."""

    def tanh(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        t = t.float().view(-1, 1, 1)
        return torch.tanh(0.7 * x + 0.2 * torch.cos(6 * t / 1000)) + 0.1 * t / 1000

    def guided(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        guide = ClassifierFree(torch.full((len(x),), 3.5))
        return guide.combine(torch.cat([torch.tanh(0.7 * x + 0.2), 0.3 * x]))

    return {"scale": lambda x, t: 0.3 * x, "tanh": tanh, "cfg": guided}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("model", ["scale", "tanh", "cfg"])
def test_golden_ddim50(golden: Path, reference: dict[str, np.ndarray], name: str, model: str) -> None:
    """Every one of the 50 samples along the way agrees."""
    schedule, timesteps = make_schedule(name, 1000), respaced(1000, 50)
    x = torch.from_numpy(reference["x_T"])
    for i, (now, following) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True)):
        t, t_next = torch.full((2,), now), torch.full((2,), following)
        x0 = predicted_x0(schedule, "x0", stated_models()[model](x, t), x, t)
        x = after(ddim, schedule, x, x0, t, t_next, lambda: torch.empty(0))
        for found, kind in ((x0, "pred_xstart"), (x, "samples")):
            expected = reference[f"ddim50.{name}.{model}.{kind}"][i]
            np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=f"step {i}")


@pytest.mark.parametrize("name", SCHEDULES)
def test_golden_ancestral(golden: Path, reference: dict[str, np.ndarray], name: str) -> None:
    schedule = make_schedule(name, 50)
    x = torch.from_numpy(reference["x_T"])
    for i, now in enumerate(reversed(range(50))):
        t = torch.full((2,), now)
        noise = torch.from_numpy(reference[f"ancestral50.{name}.scale.noises"][i])
        x = after(ddpm, schedule, x, 0.3 * x, t, t - 1, lambda noise=noise: noise)
        np.testing.assert_allclose(x, reference[f"ancestral50.{name}.scale.samples"][i], atol=1e-4)


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
@pytest.mark.parametrize(("ours", "kind"), [("epsilon", "epsilon"), ("x0", "sample"), ("v", "v_prediction")])
def test_ddim_agrees_with_diffusers(name: str, theirs: str, ours: str, kind: str) -> None:
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule=theirs,
        prediction_type=kind,
        clip_sample=False,
        set_alpha_to_one=True,
    )
    scheduler.set_timesteps(50)
    schedule, timesteps = make_schedule(name, 1000), respaced(1000, 50)
    assert scheduler.timesteps.tolist() == timesteps
    x = mine = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    for now, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t = torch.full((2,), now)
        x = scheduler.step(torch.tanh(x), now, x).prev_sample
        x0 = predicted_x0(schedule, ours, torch.tanh(mine), mine, t)
        mine = after(ddim, schedule, mine, x0, t, torch.full((2,), following), lambda: torch.empty(0))
    torch.testing.assert_close(mine, x, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(("name", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_ddpm_agrees_with_diffusers(name: str, theirs: str) -> None:
    scheduler = diffusers.DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule=theirs,
        prediction_type="sample",
        clip_sample=False,
        variance_type="fixed_small",
    )
    schedule = make_schedule(name, 1000)
    x = mine = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    for now in (999, 998, 700, 500, 41, 2, 1, 0):
        generator = torch.Generator().manual_seed(now)
        x = scheduler.step(torch.tanh(x), now, x, generator=generator).prev_sample
        noise = torch.randn(mine.shape, generator=torch.Generator().manual_seed(now))
        t = torch.full((2,), now)
        mine = after(ddpm, schedule, mine, torch.tanh(mine), t, t - 1, lambda noise=noise: noise)
        torch.testing.assert_close(mine, x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", [linear_schedule(), cosine_schedule()], ids=SCHEDULES)
def test_the_target_gives_back_x0(schedule: NoiseSchedule, prediction: str) -> None:
    """Predicting the target exactly recovers x_0, at a timestep of each sample's own."""
    x0, noise = torch.randn(4, 5, 6), torch.randn(4, 5, 6)
    t = torch.tensor([0, 100, 500, 900])
    x_t = q_sample(schedule, x0, t, noise)
    output = target(schedule, prediction, x0, t, noise)
    torch.testing.assert_close(predicted_x0(schedule, prediction, output, x_t, t), x0, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("step", SAMPLERS.values(), ids=SAMPLERS)
def test_per_sample_timesteps(step: Step) -> None:
    """A batch at mixed timesteps equals its samples stepped alone."""
    schedule = cosine_schedule()
    x, x0, noise = torch.randn(3, 4, 5), torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    t, t_next = torch.tensor([999, 500, 0]), torch.tensor([979, 480, -1])
    together = after(step, schedule, x, x0, t, t_next, lambda: noise)
    for i in range(3):
        one = slice(i, i + 1)
        alone = after(step, schedule, x[one], x0[one], t[one], t_next[one], lambda one=one: noise[one])
        assert torch.equal(together[one], alone)


@pytest.mark.parametrize("step", SAMPLERS.values(), ids=SAMPLERS)
def test_sampling_ends_at_the_estimate(step: Step) -> None:
    """If the network always predicts the same x_0, any sampler ends there, without noise."""
    x0 = torch.randn(2, 3)
    ended = sample(lambda x, t: x0, cosine_schedule(), step, respaced(1000, 50), lambda: torch.randn(2, 3))
    torch.testing.assert_close(ended, x0, atol=1e-5, rtol=0)


def test_ddpm_keeps_a_gaussian() -> None:
    """Data N(0, 0.25) with its exact x_0 estimate: ancestral sampling ends with that variance."""
    schedule, variance = cosine_schedule(), 0.25
    generator = torch.Generator().manual_seed(0)

    def posterior_mean(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha = coefficient(schedule.alphas_cumprod, t, x)
        return alpha.sqrt() * variance / (alpha * variance + 1 - alpha) * x

    ended = sample(
        posterior_mean,
        schedule,
        ddpm,
        respaced(1000, 250),
        lambda: torch.randn(20000, 1, generator=generator),
    )
    assert ended.var().item() == pytest.approx(variance, rel=0.05)
    assert ended.mean().item() == pytest.approx(0, abs=0.02)


def test_l_simple_ignores_what_is_not_valid() -> None:
    output, wanted = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    valid = torch.rand(2, 3, 4) > 0.3
    loss = l_simple(output, wanted, valid, torch.ones(2))
    spoiled = torch.where(valid[..., None], output, torch.full_like(output, 1e6))
    assert l_simple(spoiled, wanted, valid, torch.ones(2)) == loss
    assert loss == pytest.approx((output - wanted)[valid].square().mean().item(), rel=1e-5)


@pytest.mark.parametrize("schedule", [linear_schedule(), cosine_schedule()], ids=SCHEDULES)
def test_min_snr_weighs_an_error_of_x0_by_the_ratio_up_to_its_cap(schedule: NoiseSchedule) -> None:
    """Hang et al. 2023: min(SNR, γ) for x_0, over SNR for ε, over SNR + 1 for v."""
    t = torch.arange(0, 1000, 37)
    alphas = schedule.alphas_cumprod[t].numpy()
    snr = alphas / (1.0 - alphas)
    capped = np.where(snr > 5.0, 5.0, snr)
    assert 0.1 < (snr > 5.0).mean() < 0.9
    for prediction, expected in (("x0", capped), ("epsilon", capped / snr), ("v", capped / (snr + 1.0))):
        np.testing.assert_allclose(loss_weights(schedule, prediction, t, 5.0), expected, rtol=1e-5)
        assert loss_weights(schedule, prediction, t, None).tolist() == [1.0] * len(t)


def test_l_simple_weighs_each_sample() -> None:
    output = torch.stack([torch.full((1, 2, 3), 1.0), torch.full((1, 2, 3), 2.0)])
    valid = torch.tensor([[[True, True]], [[True, False]]])
    loss = l_simple(output, torch.zeros_like(output), valid, torch.tensor([10.0, 0.5]))
    assert loss == pytest.approx((2 * 10.0 * 1 + 0.5 * 4) / 3)


def test_respacing_out_of_range() -> None:
    with pytest.raises(InputError, match="sampling steps are 0"):
        respaced(1000, 0)
