"""Encoders of motions and captions into one space (`motion.evaluator.carescene`).

Shape suffixes: B batch, P person, R row (one person of one motion), T token (frame), F feature, D width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.denoiser.blocks import sinusoid
from motion.errors import InputError
from motion.errors.numbers import SHARE, above, at_least, check_numbers
from motion.evaluator.motion_features import NUM_FEATURES, MotionBatch

MIN_VARIANCE = 1e-4  # of a feature, so that one that never moves in training is not blown up


SIZES = ("width", "layers", "heads", "feedforward", "dim", "text_dim", "max_frames")


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes of the network; the default has 0.9 M parameters.

    Raises InputError if `width` is no multiple of 2 * `heads`.
    """

    width: int = 128
    """Length of a token's vector."""
    layers: int = 4
    """Number of transformer layers."""
    heads: int = 4
    """Attention heads per layer."""
    feedforward: int = 256
    """Width of the feed-forward networks."""
    dim: int = 64
    """Length of the embeddings in the common space; FID needs clearly more motions than this."""
    dropout: float = 0.1
    """Share of activations dropped in training."""
    text_encoder: str = "minilm"
    """Name of the frozen text encoder (`motion.text`)."""
    text_dim: int = 384
    """Length of the text encoder's vectors."""
    fps: float = 20.0
    """Frame rate that motions must have."""
    max_frames: int = 200
    """Frames of a motion that are looked at; the rest of a longer one is ignored."""

    def __post_init__(self) -> None:
        check_numbers(self, {**dict.fromkeys(SIZES, at_least(1)), "dropout": SHARE, "fps": above(0)})
        if self.width % (2 * self.heads):
            raise InputError(f"width is {self.width}, expected a multiple of 2 * heads = {2 * self.heads}")


@dataclass(frozen=True)
class Partners:
    """Index of persons in multi-person samples and their attention mask."""

    rows: Int[Tensor, " row"]
    """Rows of the persons who are not alone."""
    seen: Bool[Tensor, "token row row"]
    """True where one of these may attend to another, in each frame."""

    @classmethod
    def of(cls, sample: Int[Tensor, " person"], valid: Bool[Tensor, "person token"]) -> "Partners":
        """Find the persons who share a sample; `valid` tokens may be attended to."""
        together = (sample[:, None] == sample) & ~torch.eye(len(sample), dtype=torch.bool, device=sample.device)
        rows = together.any(dim=1).nonzero()[:, 0]
        return cls(rows, together[rows][:, rows] & valid[rows].T[:, None])


class Layer(nn.Module):
    """Pre-norm attention over the frames of each person, then to the others in each frame, then feed-forward."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        width, self.heads, self.dropout = config.width, config.heads, nn.Dropout(config.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward), nn.GELU(), nn.Linear(config.feedforward, width)
        )

    def forward(self, x_RTD: Tensor, valid_RT: Tensor, partners: Partners) -> Tensor:
        x_RTD = x_RTD + self._attend(0, x_RTD, valid_RT[:, None])
        if len(partners.rows):
            among_TRD = self._attend(1, x_RTD[partners.rows].transpose(0, 1), partners.seen)
            x_RTD = x_RTD.index_add(0, partners.rows, among_TRD.transpose(0, 1))
        return x_RTD + self.dropout(self.feedforward(self.norms[2](x_RTD)))

    def _attend(
        self, which: int, x: Float[Tensor, "group token width"], seen: Bool[Tensor, "group #token token"]
    ) -> Float[Tensor, "group token width"]:
        """Attend within each group; zero for a token that sees none."""
        q, k, v = self.qkv[which](self.norms[which](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        some = seen.any(dim=-1, keepdim=True)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=(seen | ~some)[:, None])
        return self.dropout(self.out[which](mixed.transpose(1, 2).flatten(2))) * some


class EvaluatorNetwork(nn.Module):
    """Network from motion features and text vectors to unit vectors in the common space."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        # Keeps the mean and variance of all frames it was trained on: the features' normalizer.
        self.normalize = nn.BatchNorm1d(NUM_FEATURES, eps=MIN_VARIANCE, momentum=None, affine=False)
        self.embed = nn.Linear(NUM_FEATURES, config.width)
        self.summary = nn.Parameter(0.02 * torch.randn(config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.motion_head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.dim))
        self.text_head = nn.Sequential(
            nn.Linear(config.text_dim, config.width), nn.GELU(), nn.Linear(config.width, config.dim)
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_motion(self, batch: MotionBatch) -> Float[Tensor, "batch dim"]:
        """Embed each motion as a unit vector: the head of the mean of its persons' summaries."""
        present_BP = batch.valid.any(dim=2)
        sample_R = present_BP.nonzero()[:, 0]
        valid_RT = batch.valid[present_BP]
        x_RTF = torch.zeros_like(batch.features[present_BP])
        x_RTF[valid_RT] = self.normalize(batch.features[batch.valid])
        frames = torch.arange(valid_RT.shape[1], device=valid_RT.device)
        x_RTD = self.embed(x_RTF) + sinusoid(frames, self.config.width)
        x_RTD = torch.cat([self.summary.expand(len(x_RTD), 1, -1), x_RTD], dim=1)
        valid_RT = F.pad(valid_RT, (1, 0), value=True)
        partners = Partners.of(sample_R, valid_RT)
        for layer in self.layers:
            x_RTD = layer(x_RTD, valid_RT, partners)
        summed_BD = x_RTD.new_zeros(len(present_BP), self.config.width).index_add(0, sample_R, x_RTD[:, 0])
        mean_BD = summed_BD / present_BP.sum(dim=1, keepdim=True).clamp_min(1)
        return F.normalize(self.motion_head(mean_BD), dim=-1)

    def embed_text(self, vectors: Float[Tensor, "batch text_dim"]) -> Float[Tensor, "batch dim"]:
        """Embed text vectors as unit vectors."""
        return F.normalize(self.text_head(vectors), dim=-1)
