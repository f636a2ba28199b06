"""The denoiser: a transformer over one token per person and frame (thesis 4.5).

Token = linear embedding of the features + time encoding + identity + class + action. In front stand the text
token, the diffusion-step token and one token per group of 64 scene points. Masks: True = valid.

Shape suffixes: B batch, P person, T frame, F feature, D width, S sequence (all tokens), G point group, C text.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.features import NUM_FEATURES
from motion.scene_tokens import POINTS_PER_GROUP
from motion.skeleton import ACTIONS, PERSON_CLASSES


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the network."""

    width: int
    layers: int
    heads: int
    feedforward: int
    text_dim: int
    dropout: float = 0.1
    max_persons: int = 16
    """Size of the pool that identities are drawn from."""
    num_features: int = NUM_FEATURES


@dataclass(frozen=True)
class Conditions:
    """All the network is told beside the noisy motion. Class and action 0 mean "unknown"."""

    valid: Bool[Tensor, "batch person frame"]
    identity: Int[Tensor, "batch person"]
    """Distinct numbers below `max_persons`, drawn once per sample: persons are exchangeable."""
    person_class: Int[Tensor, "batch person"]
    action: Int[Tensor, "batch person frame"]
    text: Float[Tensor, "batch text_dim"]
    text_valid: Bool[Tensor, " batch"]
    points: Float[Tensor, "batch group 64 3"]
    points_valid: Bool[Tensor, "batch group"]

    def without(self, dropped: Bool[Tensor, " batch"]) -> "Conditions":
        """The same with text, class, action and scene taken away from the `dropped` samples."""
        kept = ~dropped
        return replace(
            self,
            person_class=self.person_class * kept[:, None],
            action=self.action * kept[:, None, None],
            text_valid=self.text_valid & kept,
            points_valid=self.points_valid & kept[:, None],
        )

    def followed_by(self, other: "Conditions") -> "Conditions":
        """Both along the batch axis."""
        return Conditions(*(torch.cat(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))

    def to(self, device: torch.device) -> "Conditions":
        return Conditions(*(value.to(device) for value in vars(self).values()))


def sinusoid(positions: Int[Tensor, "*batch"], width: int) -> Float[Tensor, "*batch width"]:
    """Sine on even and cosine on odd channels (Vaswani et al. 2017)."""
    even = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
    angle = positions[..., None].float() * torch.exp(even * (-torch.log(torch.tensor(10000.0)) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


class SinusoidEmbedding(nn.Module):
    """Sinusoid of an integer position, then a two-layer network."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, positions: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width"]:
        weight_type = next(self.mlp.parameters()).dtype
        return self.mlp(sinusoid(positions, self.width).to(weight_type))


class Block(nn.Module):
    """Post-norm transformer encoder layer without biases."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.attention_norm = nn.LayerNorm(config.width, bias=False)
        self.feedforward = nn.Sequential(
            nn.Linear(config.width, config.feedforward, bias=False),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward, config.width, bias=False),
        )
        self.feedforward_norm = nn.LayerNorm(config.width, bias=False)
        self.residual_dropout = nn.Dropout(config.dropout)

    def attend(self, x_BSD: Tensor, mask_B11S: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x_BSD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11S, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(-2))

    def forward(self, x_BSD: Tensor, mask_B11S: Tensor | None) -> Tensor:
        x_BSD = self.attention_norm(x_BSD + self.residual_dropout(self.attend(x_BSD, mask_B11S)))
        return self.feedforward_norm(x_BSD + self.residual_dropout(self.feedforward(x_BSD)))


class Denoiser(nn.Module):
    """Noisy features and conditions to the schedule's prediction (ε, x_0 or v), same shape."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed_motion = nn.Linear(config.num_features, width)
        self.embed_frame = SinusoidEmbedding(width)
        self.embed_step = SinusoidEmbedding(width)
        self.embed_identity = nn.Embedding(config.max_persons, width)
        self.embed_class = nn.Embedding(len(PERSON_CLASSES), width, padding_idx=0)
        self.embed_action = nn.Embedding(len(ACTIONS), width, padding_idx=0)
        self.embed_text = nn.Linear(config.text_dim, width)
        self.embed_points = nn.Linear(POINTS_PER_GROUP * 3, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Linear(width, config.num_features)

    def forward(
        self,
        x_t: Float[Tensor, "batch person frame feature"],
        t: Int[Tensor, " batch"],
        conditions: Conditions,
    ) -> Float[Tensor, "batch person frame feature"]:
        weight_type = self.output.weight.dtype  # bf16 weights take bf16 inputs
        motion_BSD = self._motion_tokens(x_t.to(weight_type), conditions).flatten(1, 2)
        prefix_BSD = torch.cat(
            [
                self.embed_text(conditions.text.to(weight_type))[:, None],
                self.embed_step(t)[:, None],
                self.embed_points(conditions.points.flatten(-2).to(weight_type)),
            ],
            dim=1,
        )
        x_BSD = torch.cat([prefix_BSD, motion_BSD], dim=1)
        mask_B11S = _attention_mask(conditions)
        for block in self.blocks:
            x_BSD = block(x_BSD, mask_B11S)
        return self.output(x_BSD[:, prefix_BSD.shape[1] :]).unflatten(1, x_t.shape[1:3])

    def _motion_tokens(self, x_BPTF: Tensor, conditions: Conditions) -> Tensor:
        frames = torch.arange(x_BPTF.shape[2], device=x_BPTF.device)
        per_person_BPD = self.embed_identity(conditions.identity) + self.embed_class(conditions.person_class)
        return (
            self.embed_motion(x_BPTF)
            + self.embed_frame(frames)
            + per_person_BPD[:, :, None]
            + self.embed_action(conditions.action)
        )


def _attention_mask(conditions: Conditions) -> Bool[Tensor, "batch 1 1 token"]:
    """Which tokens may be looked at; the step token always is."""
    step_valid = torch.ones_like(conditions.text_valid)
    mask_BS = torch.cat(
        [
            conditions.text_valid[:, None],
            step_valid[:, None],
            conditions.points_valid,
            conditions.valid.flatten(1),
        ],
        dim=1,
    )
    return mask_BS[:, None, None]
