"""The diffusion process: noise schedules, prediction targets and L_simple (thesis 2.3).

Timesteps are 0-based, t = 0 … T-1 (the thesis counts 1 … T), and come one per sample. `alphas_cumprod` is the
thesis' ᾱ. Tables are float64 and are read out in float32, as the field's reference code does.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Prediction = Literal["epsilon", "x0", "v"]
ScheduleName = Literal["linear", "cosine"]


@dataclass(frozen=True)
class NoiseSchedule:
    """`betas` of the forward process q(x_t | x_{t-1}) (eq. 2.4) and their cumulative product."""

    betas: Float[Tensor, " step"]
    alphas_cumprod: Float[Tensor, " step"]

    @property
    def num_steps(self) -> int:
        return len(self.betas)

    def to(self, device: torch.device) -> "NoiseSchedule":
        """Beside the samples, so that a step of sampling need not wait for the host."""
        return NoiseSchedule(self.betas.to(device), self.alphas_cumprod.to(device))


def _schedule(betas: Float[Tensor, " step"]) -> NoiseSchedule:
    return NoiseSchedule(betas, torch.cumprod(1 - betas, dim=0))


def linear_schedule(num_steps: int = 1000) -> NoiseSchedule:
    """β from 1e-4 to 0.02 for 1000 steps, scaled to keep the total noise for other counts (Ho et al. 2020)."""
    scale = 1000 / num_steps
    return _schedule(torch.linspace(scale * 1e-4, scale * 0.02, num_steps, dtype=torch.float64))


def cosine_schedule(num_steps: int = 1000, s: float = 0.008) -> NoiseSchedule:
    """Eq. 2.15 with β clipped at 0.999 (Nichol and Dhariwal 2021)."""
    time = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    signal = torch.cos((time + s) / (1 + s) * torch.pi / 2) ** 2
    return _schedule((1 - signal[1:] / signal[:-1]).clamp_max(0.999))


def make_schedule(name: ScheduleName, num_steps: int) -> NoiseSchedule:
    return {"linear": linear_schedule, "cosine": cosine_schedule}[name](num_steps)


def coefficient(
    table: Float[Tensor, " step"], t: Int[Tensor, " batch"], like: Float[Tensor, "batch *rest"]
) -> Float[Tensor, "batch *ones"]:
    """`table[t]`, shaped to multiply `like` and of its type."""
    return table[t.to(table.device)].to(like).view(-1, *(1,) * (like.ndim - 1))


def signal_and_noise(
    schedule: NoiseSchedule, t: Int[Tensor, " batch"], like: Float[Tensor, "batch *rest"]
) -> tuple[Float[Tensor, "batch *ones"], Float[Tensor, "batch *ones"]]:
    """sqrt(ᾱ_t) and sqrt(1 - ᾱ_t)."""
    alphas = schedule.alphas_cumprod
    return coefficient(alphas.sqrt(), t, like), coefficient((1 - alphas).sqrt(), t, like)


def q_sample(
    schedule: NoiseSchedule,
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    noise: Float[Tensor, "batch *rest"],
) -> Float[Tensor, "batch *rest"]:
    """x_t given x_0 and ε (eq. 2.7)."""
    signal, sigma = signal_and_noise(schedule, t, x0)
    return signal * x0 + sigma * noise


def target(
    schedule: NoiseSchedule,
    prediction: Prediction,
    x0: Float[Tensor, "batch *rest"],
    t: Int[Tensor, " batch"],
    noise: Float[Tensor, "batch *rest"],
) -> Float[Tensor, "batch *rest"]:
    """What the network is trained to say: ε, x_0, or v = sqrt(ᾱ) ε - sqrt(1-ᾱ) x_0 (Salimans and Ho 2022)."""
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
    """The x_0 that the network's output implies."""
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
    """The ε that turns this x_0 into this x_t (eq. 2.7 solved for ε)."""
    signal, sigma = signal_and_noise(schedule, t, x_t)
    return (x_t - signal * x0) / sigma


def loss_weights(
    schedule: NoiseSchedule, prediction: Prediction, t: Int[Tensor, " batch"], min_snr: float | None
) -> Float[Tensor, " batch"]:
    """By how much a sample's error counts: min(SNR, γ) of the error of x_0, SNR = ᾱ / (1-ᾱ) (Hang et al. 2023).

    1 where γ is None. An error of x_0 is one of ε divided by the SNR, or one of v divided by SNR + 1.
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
    """Mean squared error over the valid frames (eq. 2.14), those of a sample weighted by its own weight."""
    error = (output - target).square().mean(dim=-1)
    return (error * valid * weights[:, None, None]).sum() / valid.sum().clamp_min(1)
