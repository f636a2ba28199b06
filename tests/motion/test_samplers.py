"""Samplers against diffusers' schedulers, their order of convergence, and a batch of samples at steps of their own."""

from collections.abc import Callable
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch

from motion.diffusion import NoiseSchedule, coefficient, cosine_schedule, make_schedule
from motion.errors import InputError
from motion.samplers import SAMPLERS, SPACINGS, History, Step, ddim, ddpm, dpmpp_2m, sample, trailing, unipc

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
STEPS: dict[str, Step] = {**SAMPLERS, "ddim0.7": partial(ddim, eta=0.7)}
THEIRS = {
    "ddpm": partial(diffusers.DDPMScheduler, variance_type="fixed_small", clip_sample=False),
    "ddim": partial(diffusers.DDIMScheduler, clip_sample=False),
    "ddim0.7": partial(diffusers.DDIMScheduler, clip_sample=False),
    "dpmpp_2m": partial(
        diffusers.DPMSolverMultistepScheduler, algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint"
    ),
    "unipc": partial(diffusers.UniPCMultistepScheduler, solver_order=2, solver_type="bh2"),
}


def tanh(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return a closed-form network that depends on the timestep."""
    time = t.to(x).view(-1, *(1,) * (x.ndim - 1)) / 1000
    return torch.tanh(0.7 * x + 0.2 * torch.cos(6 * time)) + 0.1 * time


def guided(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return the golden vectors' network under a guidance of 3.5."""
    return 3.5 * torch.tanh(0.7 * x + 0.2) + (1 - 3.5) * 0.3 * x


def rational(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Return a network whose bits do not depend on a number's place in a vector register, as those of tanh may."""
    return x / (1 + x * x) + coefficient(torch.arange(1000, dtype=torch.float64) / 1000, t, x)


def no_noise() -> torch.Tensor:
    raise AssertionError("a deterministic step drew noise")


def recorded(network: Network, seen: list[torch.Tensor]) -> Network:
    """Wrap a network such that it keeps its inputs in `seen`."""

    def network_and_record(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return network(x, t)

    return network_and_record


def their_scheduler(name: str, schedule: NoiseSchedule, num_steps: int) -> Any:
    betas = schedule.betas.numpy()
    scheduler = THEIRS[name](trained_betas=betas, prediction_type="sample", timestep_spacing="trailing")
    # Theirs is float32, where the cosine schedule's 1 - ᾱ keeps three digits at t = 0.
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    scheduler.set_timesteps(num_steps)
    return scheduler


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("num_steps", [8, 20])
@pytest.mark.parametrize(("network", "dtype"), [(tanh, torch.float32), (guided, torch.float64)])
def test_every_sample_agrees_with_diffusers(
    name: str, kind: str, num_steps: int, network: Network, dtype: torch.dtype
) -> None:
    def noise(seed: int) -> torch.Tensor:
        return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)

    schedule = make_schedule(kind, 1000)
    scheduler = their_scheduler(name, schedule, num_steps)
    x, theirs = noise(0), []
    for i, t in enumerate(scheduler.timesteps, start=1):
        theirs.append(x)
        options: dict[str, Any] = {"eta": 0.7} if name == "ddim0.7" else {}
        if name in ("ddpm", "ddim0.7"):
            options["generator"] = torch.Generator().manual_seed(i)
        x = scheduler.step(network(x, t), t, x, **options).prev_sample

    seeds, mine = iter(range(num_steps + 1)), list[torch.Tensor]()
    timesteps = scheduler.timesteps.tolist()
    last = sample(recorded(network, mine), schedule, STEPS[name], timesteps, lambda: noise(next(seeds)))
    torch.testing.assert_close(torch.stack([*mine, last]), torch.stack([*theirs, x]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_steps", [1, 3, 8, 10, 13, 20, 60, 999, 1000])
def test_trailing_timesteps(num_steps: int) -> None:
    """Every count gives distinct, even steps from the last one, and they are diffusers'."""
    timesteps = trailing(1000, num_steps)
    assert timesteps[0] == 999
    gaps = {now - following for now, following in pairwise([*timesteps, -1])}
    assert len(timesteps) == num_steps
    assert min(gaps) > 0
    assert max(gaps) - min(gaps) <= 1
    theirs = diffusers.DDIMScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(num_steps)
    assert theirs.timesteps.tolist() == timesteps


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("num_steps", [0, 1001])
def test_a_count_out_of_range(spacing: Callable[[int, int], list[int]], num_steps: int) -> None:
    with pytest.raises(InputError, match=f"sampling steps are {num_steps}"):
        spacing(1000, num_steps)


def error_of(step: Step, count: int) -> float:
    """Compute the error of x at t = 400, from t = 1200 of 1600 in so many steps, for data N(0.4, 1.5).

    The probability flow is known, as a sample keeps its quantile: (x_t - sqrt(ᾱ) μ) / sqrt(v_t) is constant, where v_t
    = ᾱ σ² + 1 - ᾱ.
    """
    schedule, mean, variance = cosine_schedule(1600), 0.4, 1.5
    signal, total = schedule.alphas_cumprod.sqrt(), schedule.alphas_cumprod * variance + 1 - schedule.alphas_cumprod
    quantile = torch.tensor([[-1.5, 0.5, 2.0]], dtype=torch.float64)

    def exact(t: int) -> torch.Tensor:
        return signal[t] * mean + total[t].sqrt() * quantile

    x, history = exact(1200), History.none(exact(1200))
    for t, t_next in pairwise(torch.arange(1200, 399, -800 // count).view(-1, 1)):
        x0 = mean + coefficient(signal * variance / total, t, x) * (x - coefficient(signal, t, x) * mean)
        x, history = step(schedule, x, x0, t, t_next, history, no_noise)
    return (x - exact(400)).abs().max().item()


@pytest.mark.parametrize(("step", "order"), [(ddim, 1), (dpmpp_2m, 2), (unipc, 3)])
def test_order_of_convergence(step: Step, order: int) -> None:
    """Twice the steps give 1/2, 1/4 and 1/8 of the error: UniC raises UniP-2's order by one."""
    errors = [error_of(step, count) for count in (20, 40, 80)]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_one_network_call_a_timestep(step: Step) -> None:
    calls: list[torch.Tensor] = []
    sample(recorded(tanh, calls), cosine_schedule(), step, trailing(1000, 12), lambda: torch.randn(2, 3))
    assert len(calls) == 12


class Request:
    """Sample on its own timesteps, which enters a server's batch at `tick` and has noise of its own."""

    def __init__(self, seed: int, tick: int, num_steps: int) -> None:
        self.tick, self.timesteps = tick, [*trailing(1000, num_steps), -1]
        self.generator = torch.Generator().manual_seed(seed)

    def noise(self) -> torch.Tensor:
        return torch.randn(1, 3, 5, generator=self.generator)


def served(step: Step, requests: list[Request]) -> list[torch.Tensor]:
    """Run step-level batching: at every tick one step of all who have come and are not done."""
    samples = [request.noise() for request in requests]
    histories = [History.none(x) for x in samples]
    for tick in range(100):
        batch = [i for i, r in enumerate(requests) if 0 <= tick - r.tick < len(r.timesteps) - 1]
        if not batch:
            continue
        times = torch.tensor([requests[i].timesteps[tick - requests[i].tick :][:2] for i in batch])
        history = reduce(History.followed_by, [histories[i] for i in batch])
        x, (t, t_next) = torch.cat([samples[i] for i in batch]), times.unbind(1)

        def draw(batch: list[int] = batch) -> torch.Tensor:
            return torch.cat([requests[i].noise() for i in batch])

        x, history = step(cosine_schedule(), x, rational(x, t), t, t_next, history, draw)
        for row, i in enumerate(batch):
            samples[i], histories[i] = x[row : row + 1], history.rows(torch.tensor([row]))
    return samples


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_sample_does_not_depend_on_its_batch(step: Step) -> None:
    """Requests of 5 to 20 steps that come at different ticks end with the bits of those sampled alone."""
    requests = [(0, 0, 8), (1, 0, 20), (2, 1, 5), (3, 4, 13), (4, 11, 8)]
    together = served(step, [Request(*request) for request in requests])
    for request, mine in zip(requests, together, strict=True):
        alone = Request(*request)
        assert torch.equal(mine, sample(rational, cosine_schedule(), step, alone.timesteps[:-1], alone.noise))


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_step_reads_no_value_on_the_host(step: Step) -> None:
    """Meta tensors have shapes and no values: .item() or an `if` on one raises."""
    with torch.device("meta"):
        schedule = NoiseSchedule(torch.empty(10, dtype=torch.float64), torch.empty(10, dtype=torch.float64))
        x, t = torch.empty(3, 4, 5), torch.empty(3, dtype=torch.int64)
    x_next, history = step(schedule, x, x, t, t, History.none(x), lambda: x)
    step(schedule, x_next, x, t, t, history, lambda: x)
    with pytest.raises(RuntimeError):
        x.sum().item()


@pytest.mark.parametrize("step", [dpmpp_2m, unipc])
def test_without_history_and_at_the_end_multistep_is_ddim(step: Step) -> None:
    """They agree bit for bit, in rows whose neighbours do have a history."""
    schedule, x, x0 = cosine_schedule(), torch.randn(3, 4), torch.randn(3, 4)
    known = torch.tensor([False, True, True])
    history = History.none(x).remember(torch.randn(3, 4), torch.randn(3, 4), torch.where(known, 700, -1))
    t, t_next = torch.tensor([500, 500, 500]), torch.tensor([300, 300, -1])
    ours, after = step(schedule, x, x0, t, t_next, history, no_noise)
    expected, _ = ddim(schedule, x, x0, t, t_next, history, no_noise)
    assert (ours == expected).all(1).tolist() == [True, False, True]
    assert after.t.tolist() == [500] * 3
    assert after.t_before.tolist() == [-1, 700, 700]


def test_eta_of_one_is_ancestral() -> None:
    schedule, x, x0, noise = cosine_schedule(), *torch.randn(3, 4, 5, dtype=torch.float64)
    t, t_next = torch.tensor([999, 500, 30, 0]), torch.tensor([949, 450, 5, -1])
    arguments = (schedule, x, x0, t, t_next, History.none(x), lambda: noise)
    torch.testing.assert_close(ddim(*arguments, eta=1.0)[0], ddpm(*arguments)[0], atol=1e-9, rtol=0)
    with pytest.raises(InputError, match="eta is 1.5"):
        ddim(*arguments, eta=1.5)
