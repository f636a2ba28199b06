"""Reverse steps as free functions of one signature, over a timestep per sample.

``step(schedule, x_t, x0, t, t_next, draw_noise) -> x at t_next``: `x0` is the network's (guided) estimate and
`t_next` the next lower timestep of the chosen subset, -1 for "done". `draw_noise()` gives standard normal noise of
the shape of `x_t` from each sample's own generator, so a sample's randomness never depends on its neighbours.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.diffusion import NoiseSchedule, epsilon_from_x0
from motion.errors import InputError

DrawNoise = Callable[[], Float[Tensor, "batch *rest"]]
Step = Callable[[NoiseSchedule, Tensor, Tensor, Tensor, Tensor, DrawNoise], Tensor]
SamplerName = Literal["ddpm", "ddim"]


def respaced(num_train_steps: int, num_steps: int) -> list[int]:
    """`num_steps` of the trained timesteps at the smallest integer stride that gives them, descending (DDIM)."""
    if not 1 <= num_steps <= num_train_steps:
        raise InputError(f"sampling steps are {num_steps}, expected 1 to {num_train_steps}")
    for stride in range(1, num_train_steps + 1):
        steps = range(0, num_train_steps, stride)
        if len(steps) == num_steps:
            return list(reversed(steps))
    raise InputError(f"no integer stride takes {num_steps} of {num_train_steps} timesteps; try a divisor")


def _alphas(
    schedule: NoiseSchedule, t: Int[Tensor, " batch"], t_next: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """ᾱ at t and at t_next in float64, where ᾱ_{-1} = 1."""
    table = torch.cat([schedule.alphas_cumprod, schedule.alphas_cumprod.new_ones(1)])
    return table[t.to(table.device)], table[t_next.to(table.device)]


def _weight(value: Float[Tensor, " batch"], like: Tensor) -> Tensor:
    """A coefficient per sample, shaped to multiply `like` and of its type."""
    return value.to(like).view(-1, *(1,) * (like.ndim - 1))


def ddpm(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    draw_noise: DrawNoise,
) -> Float[Tensor, "batch *rest"]:
    """Ancestral step (Alg. 2; posterior of eq. 2.8-2.9) with variance β̃, which is zero on the last step."""
    alpha, alpha_next = _alphas(schedule, t, t_next)
    beta = 1 - alpha / alpha_next
    from_x0 = alpha_next.sqrt() * beta / (1 - alpha)
    from_x_t = (alpha / alpha_next).sqrt() * (1 - alpha_next) / (1 - alpha)
    variance = beta * (1 - alpha_next) / (1 - alpha)
    return _weight(from_x0, x_t) * x0 + _weight(from_x_t, x_t) * x_t + _weight(variance.sqrt(), x_t) * draw_noise()


def ddim(
    schedule: NoiseSchedule,
    x_t: Float[Tensor, "batch *rest"],
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    t_next: Int[Tensor, " batch"],
    draw_noise: DrawNoise,
) -> Float[Tensor, "batch *rest"]:
    """Deterministic step, η = 0 (Song et al. 2021, eq. 12); draws nothing."""
    _, alpha_next = _alphas(schedule, t, t_next)
    epsilon = epsilon_from_x0(schedule, x0, x_t, t)
    return _weight(alpha_next.sqrt(), x_t) * x0 + _weight((1 - alpha_next).sqrt(), x_t) * epsilon


SAMPLERS: dict[SamplerName, Step] = {"ddpm": ddpm, "ddim": ddim}


def sample(
    denoise: Callable[[Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    step: Step,
    timesteps: Sequence[int],
    draw_noise: DrawNoise,
) -> Float[Tensor, "batch *rest"]:
    """Run `step` down `timesteps` from pure noise; `denoise(x_t, t)` estimates x_0."""
    x = draw_noise()
    for now, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t, t_next = (torch.full((len(x),), index, device=x.device) for index in (now, following))
        x = step(schedule, x, denoise(x, t), t, t_next, draw_noise)
    return x
