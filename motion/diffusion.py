"""Diffusion process: noise schedules, prediction targets and L_simple (thesis §2.3).

Timesteps are 0-based, t = 0 … T-1 (the thesis counts 1 … T), one per sample. `alphas_cumprod` is the thesis' ᾱ. Tables
are float64 and are read out in float32, as the field's reference code does.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Prediction = Literal["epsilon", "x0", "v"]
"""Quantity that the network predicts: ε, x_0 or v."""
ScheduleName = Literal["linear", "cosine"]
"""Names of the noise schedules, as recipes spell them."""


@dataclass(frozen=True, repr=False)
class NoiseSchedule:
    """Variances β of the forward process q(x_t | x_{t-1}) (eq. 2.4) and the cumulative product ᾱ of 1 - β."""

    betas: Float[Tensor, " step"]
    """Variance β_t of each step, t = 0 … T-1."""
    alphas_cumprod: Float[Tensor, " step"]
    """Product ᾱ_t of 1 - β over the steps up to t."""

    @property
    def num_steps(self) -> int:
        """Number of timesteps T."""
        return len(self.betas)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """Move the tables to `device`; avoids waiting for the host at every step."""
        return NoiseSchedule(self.betas.to(device), self.alphas_cumprod.to(device))

    def __repr__(self) -> str:
        first, last = self.alphas_cumprod[[0, -1]].tolist()
        return f"NoiseSchedule: {self.num_steps:,} steps, ᾱ from {first:.4g} to {last:.2g}"


def _schedule(betas: Float[Tensor, " step"]) -> NoiseSchedule:
    return NoiseSchedule(betas, torch.cumprod(1 - betas, dim=0))


def linear_schedule(num_steps: int = 1000) -> NoiseSchedule:
    """Make the linear schedule: β from 1e-4 to 0.02 for 1000 steps (Ho et al. 2020).

    For other counts β is scaled so that the total noise is about the same.
    """
    scale = 1000 / num_steps
    return _schedule(torch.linspace(scale * 1e-4, scale * 0.02, num_steps, dtype=torch.float64))


def cosine_schedule(num_steps: int = 1000, s: float = 0.008) -> NoiseSchedule:
    """Make the cosine schedule of eq. 2.15 with β clipped at 0.999 (Nichol and Dhariwal 2021)."""
    time = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    signal = torch.cos((time + s) / (1 + s) * torch.pi / 2) ** 2
    return _schedule((1 - signal[1:] / signal[:-1]).clamp_max(0.999))


def make_schedule(name: ScheduleName, num_steps: int) -> NoiseSchedule:
    """Make the noise schedule of this name."""
    return {"linear": linear_schedule, "cosine": cosine_schedule}[name](num_steps)


def broadcast_over(
    values: Shaped[Tensor, " batch"], like: Float[Tensor, "batch *rest"]
) -> Float[Tensor, "batch *ones"]:
    """Shape one value per sample to multiply `like`, in its type and on its device."""
    return values.to(like).view(-1, *(1,) * (like.ndim - 1))


def coefficient(
    table: Float[Tensor, " step"], t: Int[Tensor, " batch"], like: Float[Tensor, "batch *rest"]
) -> Float[Tensor, "batch *ones"]:
    """Read `table[t]` per sample, shaped to multiply `like` and of its type."""
    return broadcast_over(table[t.to(table.device)], like)


def signal_and_noise(
    schedule: NoiseSchedule, t: Int[Tensor, " batch"], like: Float[Tensor, "batch *rest"]
) -> tuple[Float[Tensor, "batch *ones"], Float[Tensor, "batch *ones"]]:
    """Read sqrt(ᾱ_t) and sqrt(1 - ᾱ_t) per sample, shaped to multiply `like`."""
    alphas = schedule.alphas_cumprod
    return coefficient(alphas.sqrt(), t, like), coefficient((1 - alphas).sqrt(), t, like)


def q_sample(
    schedule: NoiseSchedule,
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    noise: Float[Tensor, "batch *rest"],
) -> Float[Tensor, "batch *rest"]:
    """Compute x_t from x_0 and ε (eq. 2.7)."""
    signal, sigma = signal_and_noise(schedule, t, x0)
    return signal * x0 + sigma * noise


def target(
    schedule: NoiseSchedule,
    prediction: Prediction,
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    noise: Float[Tensor, "batch *rest"],
) -> Float[Tensor, "batch *rest"]:
    """Compute the network's training target: ε, x_0 or v = sqrt(ᾱ) ε - sqrt(1-ᾱ) x_0 (Salimans and Ho 2022)."""
    if prediction == "epsilon":
        return noise
    if prediction == "x0":
        return x0
    signal, sigma = signal_and_noise(schedule, t, x0)
    return signal * noise - sigma * x0


def predicted_x0(
    schedule: NoiseSchedule,
    prediction: Prediction,
    output: Float[Tensor, "batch *rest"],
    x_t: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
) -> Float[Tensor, "batch *rest"]:
    """Convert the network's output at x_t into the estimate of x_0 that it implies."""
    signal, sigma = signal_and_noise(schedule, t, x_t)
    if prediction == "epsilon":
        return (x_t - sigma * output) / signal
    if prediction == "x0":
        return output
    return signal * x_t - sigma * output


def epsilon_from_x0(
    schedule: NoiseSchedule,
    x0: Float[Tensor, "batch *rest"],
    x_t: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
) -> Float[Tensor, "batch *rest"]:
    """Compute the ε that turns x_0 into x_t (eq. 2.7 solved for ε)."""
    signal, sigma = signal_and_noise(schedule, t, x_t)
    return (x_t - signal * x0) / sigma


def loss_weights(
    schedule: NoiseSchedule, prediction: Prediction, t: Int[Tensor, " batch"], min_snr: float | None
) -> Float[Tensor, " batch"]:
    """Compute a weight per sample: min(SNR, γ) times the squared error of x_0, SNR = ᾱ / (1-ᾱ) (Hang et al. 2023).

    γ is `min_snr`; None weighs all samples 1. A squared error of x_0 is one of ε divided by the SNR, or one of v
    divided by SNR + 1.
    """
    if min_snr is None:
        return torch.ones_like(t, dtype=torch.float32)
    alphas = schedule.alphas_cumprod[t.to(schedule.alphas_cumprod.device)]
    snr = alphas / (1 - alphas)
    per_x0 = {"epsilon": snr, "x0": torch.ones_like(snr), "v": snr + 1}[prediction]
    return (snr.clamp_max(min_snr) / per_x0).float().to(t.device)


def l_simple(
    output: Float[Tensor, "batch person frame feature"],
    target: Float[Tensor, "batch person frame feature"],
    valid: Bool[Tensor, "batch person frame"],
    weights: Float[Tensor, " batch"],
) -> Float[Tensor, ""]:
    """Compute the mean squared error over the valid frames (eq. 2.14), weighted by `weights` per sample."""
    error = (output - target).square().mean(dim=-1)
    return (error * valid * weights[:, None, None]).sum() / valid.sum().clamp_min(1)
