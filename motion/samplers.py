"""Reverse steps as free functions of one signature, over a timestep per sample.

``step(schedule, x_t, x0, t, t_next, history, draw_noise) -> (x at t_next, history)``: `x0` is the network's (guided)
estimate at `t`, and `t_next` the next lower timestep of the sample's own subset, -1 for "done". `history` is what
multistep solvers remember of each sample; every sampler asks the network once a timestep. `draw_noise()` gives
standard normal noise of the shape of `x_t` from each sample's own generator, so a sample's randomness never depends
on its neighbours.

Coefficients are float64 and per sample, then read in the type of `x_t`. A step reads no tensor's value on the host:
with `schedule` on the device of `x_t` it does not wait for it. Steps are made of the four operations and roots of
each sample's own numbers, logarithms are taken of whole tables: so a sample has the same bits in any batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.diffusion import NoiseSchedule, broadcast_over, epsilon_from_x0
from motion.errors import InputError


@dataclass(frozen=True)
class History:
    """Memory of multistep solvers per sample: the last step and the estimate before it.

    A timestep of -1 means that there is no such step yet.
    """

    x_t: Float[Tensor, "batch *rest"]
    """Sample that the last step started from, after UniC's correction."""
    x0: Float[Tensor, "batch *rest"]
    """Estimate of x_0 at the last step."""
    t: Int[Tensor, " batch"]
    """Timestep of the last step; -1 for none."""
    x0_before: Float[Tensor, "batch *rest"]
    """Estimate of x_0 one step before the last."""
    t_before: Int[Tensor, " batch"]
    """Timestep one step before the last; -1 for none."""

    @classmethod
    def none(cls, x: Float[Tensor, "batch *rest"]) -> "History":
        """Make an empty history for samples like `x`.

        Its tensors are broadcast views that take no memory, for the samplers that never fill them.
        """
        zeros, nothing = x.new_zeros(()).expand(x.shape), torch.full((len(x),), -1, device=x.device)
        return cls(zeros, zeros, nothing, zeros, nothing)

    def remember(
        self, x_t: Float[Tensor, "batch *rest"], x0: Float[Tensor, "batch *rest"], t: Int[Tensor, " batch"]
    ) -> "History":
        """Return the history after one more step, which started at `x_t`, `t` and estimated `x0`."""
        return History(x_t, x0, t, self.x0, self.t)

    def rows(self, index: Int[Tensor, " row"]) -> "History":
        """Select these samples along the batch axis."""
        return History(*(value[index] for value in vars(self).values()))

    def followed_by(self, other: "History") -> "History":
        """Concatenate two histories along the batch axis."""
        return History(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))


DrawNoise = Callable[[], Float[Tensor, "batch *rest"]]
"""Source of standard normal noise of the shape of the batch, drawn from each sample's own generator."""
Step = Callable[[NoiseSchedule, Tensor, Tensor, Tensor, Tensor, History, DrawNoise], tuple[Tensor, History]]
"""Reverse step: (schedule, x_t, x0, t, t_next, history, draw_noise) to (x at t_next, history)."""
SamplerName = Literal["ddpm", "ddim", "dpmpp_2m", "unipc"]
"""Names of the samplers, as recipes and requests spell them."""


def respaced(num_train_steps: int, num_steps: int) -> list[int]:
    """Select `num_steps` timesteps at the smallest integer stride that gives them, in descending order (DDIM).

    Raises InputError where no integer stride gives that many.
    """
    _check_count(num_train_steps, num_steps)
    for stride in range(1, num_train_steps + 1):
        steps = range(0, num_train_steps, stride)
        if len(steps) == num_steps:
            return list(reversed(steps))
    raise InputError(f"no integer stride takes {num_steps} of {num_train_steps} timesteps; try a divisor")


def trailing(num_train_steps: int, num_steps: int) -> list[int]:
    """Select `num_steps` timesteps evenly from the last one down ("trailing", Lin et al. 2023, table 2)."""
    # Pure noise is what training saw at the last timestep only: DDIM's stride hands it to t = 900 of 1000 at ten steps,
    # where the cosine schedule's x_t still holds 0.15 x_0, and second-order solvers then gain nothing over DDIM. Steps
    # uniform in λ (Lu et al. 2022) crowd into the cosine schedule's last timesteps: ten of them round to nine.
    _check_count(num_train_steps, num_steps)
    return [round(num_train_steps * left / num_steps) - 1 for left in range(num_steps, 0, -1)]


def _check_count(num_train_steps: int, num_steps: int) -> None:
    if not 1 <= num_steps <= num_train_steps:
        raise InputError(f"sampling steps are {num_steps}, expected 1 to {num_train_steps}")


def _alphas(
    schedule: NoiseSchedule, t: Int[Tensor, " batch"], t_next: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Read ᾱ at t and at t_next in float64; ᾱ_{-1} = 1."""
    table = torch.cat([schedule.alphas_cumprod, schedule.alphas_cumprod.new_ones(1)])
    return table[t.to(table.device)], table[t_next.to(table.device)]


def _half_log_snr(schedule: NoiseSchedule, t: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Compute λ = log(sqrt(ᾱ) / sqrt(1-ᾱ)) in float64; λ_{-1} = ∞."""
    alphas = torch.cat([schedule.alphas_cumprod, schedule.alphas_cumprod.new_ones(1)])
    table = (alphas / (1 - alphas)).log() / 2
    return table[t.to(table.device)]


def _posterior_variance(alpha: Float[Tensor, " batch"], alpha_next: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """Compute β̃ = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t) of eq. 2.9, zero on the last step; β_t = 1 - ᾱ_t / ᾱ_{t-1}."""
    return (1 - alpha / alpha_next) * (1 - alpha_next) / (1 - alpha)


def ddpm(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    history: History,
    draw_noise: DrawNoise,
) -> tuple[Float[Tensor, "batch *rest"], History]:
    """Take an ancestral step of the reverse process (eq. 2.5; thesis Alg. 2): draw x_{t-1} from N(μ̃, β̃).

    μ̃ = (sqrt(ᾱ_{t-1}) β_t x_0 + sqrt(α_t) (1 - ᾱ_{t-1}) x_t) / (1 - ᾱ_t) is eq. 2.8, β̃ = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t)
    eq. 2.9. `t_next` stands for t-1, so α_t is ᾱ_t over ᾱ at `t_next`, and β_t = 1 - α_t.
    """
    alpha, alpha_next = _alphas(schedule, t, t_next)
    from_x0 = alpha_next.sqrt() * (1 - alpha / alpha_next) / (1 - alpha)
    from_x_t = (alpha / alpha_next).sqrt() * (1 - alpha_next) / (1 - alpha)
    deviation = _posterior_variance(alpha, alpha_next).sqrt()
    mean = broadcast_over(from_x0, x_t) * x0 + broadcast_over(from_x_t, x_t) * x_t
    return mean + broadcast_over(deviation, x_t) * draw_noise(), history


def _first_order(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    variance: Float[Tensor, " batch"] | float = 0.0,
) -> Float[Tensor, "batch *rest"]:
    """Take DDIM's step, leaving room for noise of `variance`.

    It is exact if the estimate of x_0 does not change along the step.
    """
    _, alpha_next = _alphas(schedule, t, t_next)
    epsilon = epsilon_from_x0(schedule, x0, x_t, t)
    deviation = (1 - alpha_next - variance).sqrt()
    return broadcast_over(alpha_next.sqrt(), x_t) * x0 + broadcast_over(deviation, x_t) * epsilon


def ddim(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    history: History,
    draw_noise: DrawNoise,
    eta: float = 0.0,
) -> tuple[Float[Tensor, "batch *rest"], History]:
    """Take a DDIM step (Song et al. 2021, eq. 12 with σ of eq. 16).

    `eta` = 0 is deterministic and draws nothing, 1 is ancestral. Raises InputError if it is outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise InputError(f"eta is {eta}, expected 0 (deterministic) to 1 (ancestral)")
    variance = eta**2 * _posterior_variance(*_alphas(schedule, t, t_next))
    x = _first_order(schedule, x_t, x0, t, t_next, variance)
    return (x + broadcast_over(variance.sqrt(), x_t) * draw_noise() if eta else x), history


def dpmpp_2m(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    history: History,
    draw_noise: DrawNoise,
) -> tuple[Float[Tensor, "batch *rest"], History]:
    """Take a step of DPM-Solver++(2M) for data prediction (Lu et al. 2022, arXiv 2211.01095, Alg. 2); draws nothing.

    D = x0 + h / 2h' (x0 - x0'), with primes for the step before, takes the place of x0 in DDIM's step.
    """
    now = _half_log_snr(schedule, t)
    h, h_before = _half_log_snr(schedule, t_next) - now, now - _half_log_snr(schedule, history.t)
    # First order where h is infinite, on the last step, and where h' is, with no step before.
    weight = torch.where(h.isfinite() & h_before.isfinite(), h / (2 * h_before), 0)
    x = _first_order(schedule, x_t, x0 + broadcast_over(weight, x_t) * (x0 - history.x0), t, t_next)
    return x, history.remember(x_t, x0, t)


def unipc(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    history: History,
    draw_noise: DrawNoise,
) -> tuple[Float[Tensor, "batch *rest"], History]:
    """Take a step of UniPC of order 2 with B₂(h) = e^h - 1 (Zhao et al. 2023, arXiv 2302.04867); draws nothing.

    UniC first corrects x_t by the estimate there, which costs no further call; UniP-2 is the step of `dpmpp_2m`.
    """
    older, newer = _unic_weights(schedule, t, history)
    estimate = history.x0 + broadcast_over(older, x_t) * (history.x0_before - history.x0)
    estimate = estimate + broadcast_over(newer, x_t) * (x0 - history.x0)
    corrected = _first_order(schedule, history.x_t, estimate, history.t, t)
    known = broadcast_over(history.t >= 0, x_t).bool()
    return dpmpp_2m(schedule, torch.where(known, corrected, x_t), x0, t, t_next, history, draw_noise)


def _unic_weights(
    schedule: NoiseSchedule, t: Int[Tensor, " batch"], history: History
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Compute UniC's weights a_m / r_m (Theorem 3.1) of the differences to the last estimate.

    The first weight belongs to the estimate before the last one, the second to the one at `t`. Let u run evenly in λ
    from 0 at the last timestep to 1 at `t`. A step needs the estimates' mean under the weight e^λ; b₁ and b₂ are that
    mean of u and u², and a solves for the parabola through all three estimates. With only two, a = 1/2.
    """
    last = _half_log_snr(schedule, history.t)
    h = _half_log_snr(schedule, t) - last
    alpha_last, alpha = _alphas(schedule, history.t, t)
    shrinkage = 1 - (alpha_last / (1 - alpha_last) * (1 - alpha) / alpha).sqrt()  # 1 - e^{-h}
    r = (_half_log_snr(schedule, history.t_before) - last) / h
    b_1 = 1 / shrinkage - 1 / h
    b_2 = 1 / shrinkage - 2 * b_1 / h
    a_1 = (b_1 - b_2) / (1 - r)
    three = history.t_before.to(r.device) >= 0
    return torch.where(three, a_1 / r, 0), torch.where(three, b_1 - a_1, 0.5)


SAMPLERS: dict[SamplerName, Step] = {"ddpm": ddpm, "ddim": ddim, "dpmpp_2m": dpmpp_2m, "unipc": unipc}
"""Reverse step of each sampler."""
SPACINGS: dict[SamplerName, Callable[[int, int], list[int]]] = {
    "ddpm": respaced,
    "ddim": respaced,
    "dpmpp_2m": trailing,
    "unipc": trailing,
}
"""Choice of timesteps of each sampler: (trained steps, sampling steps) to descending timesteps."""


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    step: Step,
    timesteps: Sequence[int],
    draw_noise: DrawNoise,
) -> Float[Tensor, "batch *rest"]:
    """Run `step` down `timesteps` from pure noise; `denoise(x_t, t)` estimates x_0."""
    x = draw_noise()
    history = History.none(x)
    for now, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t, t_next = (torch.full((len(x),), index, device=x.device) for index in (now, following))
        x, history = step(schedule, x, denoise(x, t), t, t_next, history, draw_noise)
    return x
