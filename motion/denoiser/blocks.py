"""Transformer layers of the denoiser, the thesis' and ours. Masks: True = may be attended to.

Shape suffixes: B batch, S sequence (all tokens), D width, H head, E channels of a head, M modulation.
"""

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

NUM_MODULATIONS = 6  # shift, scale and gate of attention and of the feed-forward


class Turns(NamedTuple):
    """Rotation of a query or key: a channel times `cos` plus the channel half a head away times `sin`."""

    cos: Float[Tensor, "token channel"]
    sin: Float[Tensor, "token channel"]


def sinusoid(positions: Int[Tensor, "*batch"], width: int) -> Float[Tensor, "*batch width"]:
    """Encode positions as sines on even and cosines on odd channels (Vaswani et al. 2017)."""
    angle = positions[..., None].float() * _frequencies(width, positions.device)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


def rotary_turns(positions: Int[Tensor, " token"], channels: int) -> Turns:
    """Compute turns in proportion to each token's position, so that attention sees differences (Su et al. 2021)."""
    angle = positions[:, None].float() * _frequencies(channels, positions.device)
    return Turns(torch.cat([angle.cos(), angle.cos()], dim=-1), torch.cat([-angle.sin(), angle.sin()], dim=-1))


def _frequencies(channels: int, device: torch.device) -> Float[Tensor, " half"]:
    even = torch.arange(0, channels, 2, device=device, dtype=torch.float32)
    return torch.exp(even * (-torch.log(torch.tensor(10000.0)) / channels))


def rotate(x_BHSE: Tensor, turns: Turns) -> Tensor:
    """Turn queries or keys by their tokens' positions."""
    cos, sin = turns.cos.to(x_BHSE), turns.sin.to(x_BHSE)
    return torch.addcmul(x_BHSE * cos, x_BHSE.roll(x_BHSE.shape[-1] // 2, dims=-1), sin)


class SinusoidEmbedding(nn.Module):
    """Embedding of an integer position: its sinusoid, then a two-layer network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, positions: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        weight_type = next(self.mlp.parameters()).dtype
        return self.mlp(sinusoid(positions, self.width).to(weight_type))


class Dropout(nn.Module):
    """Dropout that takes one random byte per value on a CPU, several times as fast as `nn.Dropout`.

    The share is rounded to 256ths there.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.share == 0 or x.device.type != "cpu":
            return F.dropout(x, self.share, self.training)
        dropped = min(round(256 * self.share), 255)
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        return torch.where(drawn[: x.numel()].view(x.shape) >= dropped, x * (256 / (256 - dropped)), 0)


class Attention(nn.Module):
    """Multi-head self-attention without biases: softmax(Q Kᵀ / sqrt(d_k)) V for each head (eq. 2.22).

    `qk_norm` gives queries and keys unit size (Henry et al. 2020).
    """

    def __init__(self, width: int, heads: int, dropout: float, qk_norm: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = nn.RMSNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(width // heads) if qk_norm else nn.Identity()

    def forward(self, x_BSD: Tensor, mask_B11S: Tensor | None, turns: Turns | None) -> Tensor:
        """Attend over all tokens; `mask_B11S` None lets every token be attended to, `turns` None rotates nothing."""
        q, k, v = self.qkv(x_BSD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        share = self.dropout.share if self.training else 0.0
        if share and x_BSD.device.type == "cpu":
            mixed = self._with_dropout(q, k, v, mask_B11S)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11S, dropout_p=share)
        return self.out(mixed.transpose(1, 2).flatten(-2))

    def _with_dropout(self, q: Tensor, k: Tensor, v: Tensor, mask_B11S: Tensor | None) -> Tensor:
        """Attend with dropout on a CPU: PyTorch has no kernel for it and draws a number for each weight."""
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask_B11S is not None:
            scores = scores.masked_fill(~mask_B11S, torch.finfo(scores.dtype).min)
        return self.dropout(scores.softmax(dim=-1)) @ v


def feedforward(width: int, inner: int, dropout: float) -> nn.Sequential:
    """Build the two-layer feed-forward network of a block."""
    return nn.Sequential(
        nn.Linear(width, inner, bias=False), nn.GELU(), Dropout(dropout), nn.Linear(inner, width, bias=False)
    )


class _Block(nn.Module):
    """Attention, feed-forward network and their norms, without biases; a subclass says how they follow one another."""

    norms_scale: ClassVar[bool]
    """True where the norms have weights of their own."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float, qk_norm: bool) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout, qk_norm)
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=self.norms_scale, bias=False)
        self.feedforward = feedforward(width, inner, dropout)
        self.feedforward_norm = nn.LayerNorm(width, elementwise_affine=self.norms_scale, bias=False)
        self.dropout = Dropout(dropout)


class PlainBlock(_Block):
    """Post-norm transformer encoder layer without biases, as in the thesis."""

    norms_scale = True

    def forward(
        self, x_BSD: Tensor, mask_B11S: Tensor | None, turns: Turns | None, modulation_BMD: Tensor | None
    ) -> Tensor:
        x_BSD = self.attention_norm(x_BSD + self.dropout(self.attention(x_BSD, mask_B11S, turns)))
        return self.feedforward_norm(x_BSD + self.dropout(self.feedforward(x_BSD)))


class ModulatedBlock(_Block):
    """Pre-norm layer whose norms and residuals the step modulates (DiT's AdaLN-zero, Peebles and Xie 2023).

    One network gives the modulation of all layers, to which each adds its own table (PixArt-α, Chen et al. 2023): a
    network a layer would hold more weights than the layer.
    """

    norms_scale = False

    def __init__(self, width: int, heads: int, inner: int, dropout: float, qk_norm: bool) -> None:
        super().__init__(width, heads, inner, dropout, qk_norm)
        self.table = nn.Parameter(torch.zeros(NUM_MODULATIONS, width))

    def forward(
        self, x_BSD: Tensor, mask_B11S: Tensor | None, turns: Turns | None, modulation_BMD: Tensor | None
    ) -> Tensor:
        """Apply attention and feed-forward, each modulated and gated."""
        assert modulation_BMD is not None
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (modulation_BMD + self.table)[:, :, None].unbind(1)
        attended = self.attention(modulate(self.attention_norm(x_BSD), shift_a, scale_a), mask_B11S, turns)
        x_BSD = torch.addcmul(x_BSD, gate_a, self.dropout(attended))
        inner = self.feedforward(modulate(self.feedforward_norm(x_BSD), shift_f, scale_f))
        return torch.addcmul(x_BSD, gate_f, self.dropout(inner))


def modulate(x_BSD: Tensor, shift_B1D: Tensor, scale_B1D: Tensor) -> Tensor:
    """Scale by 1 + `scale_B1D` and shift by `shift_B1D`."""
    return torch.addcmul(shift_B1D, x_BSD, 1 + scale_B1D)  # one pass over memory instead of two
