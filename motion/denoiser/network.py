"""Denoiser: a transformer over the tokens of all persons and frames, and of their conditions (thesis §4.5).

A motion token is the linear embedding of the features of one person in `frames_per_token` frames, plus identity, class
and action. Before them stand the tokens of text, scene points and height map. The defaults of `DenoiserConfig` are the
thesis' network; the recipe `default` says why it differs.

Shape suffixes: B batch, P person, T frame, N tokens of a person, F feature, D width, S sequence (all tokens), C
caption, L word, G point group, M modulation.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.denoiser.blocks import (
    NUM_MODULATIONS,
    ModulatedBlock,
    PlainBlock,
    SinusoidEmbedding,
    Turns,
    modulate,
    rotary_turns,
)
from motion.denoiser.conditions import Conditions
from motion.denoiser.config import DenoiserConfig
from motion.denoiser.scene_tokens import HEIGHT_PATCH, HEIGHT_SHAPE, height_patches
from motion.features import POINTS_PER_GROUP


@dataclass(frozen=True)
class Prepared:
    """Embedded conditions; the same at every step of sampling."""

    prefix: Float[Tensor, "batch prefix width"]
    """Tokens before the motion's: points, text, height map."""
    added: Float[Tensor, "batch person token width"]
    """Sum of the embeddings added to each motion token: who, when, what."""
    caption: Float[Tensor, "batch width"]
    """Mean of the scene caption's words."""
    valid: Bool[Tensor, "batch person frame"]
    """True where a person is there."""
    mask: Bool[Tensor, "batch 1 1 sequence"] | None
    """Attention mask, True = may be attended to; None where it is True throughout, so that attention needs no mask."""
    turns: Turns | None
    """Rotary turns of all tokens; None where frames are encoded by sinusoids."""


class Denoiser(nn.Module):
    """Network from noisy features and conditions to the schedule's prediction (ε, x_0 or v), same shape."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width, features = config.width, config.num_features * config.frames_per_token
        self.embed_motion = nn.Linear(features, width)
        self.embed_frame = SinusoidEmbedding(width) if config.time == "sinusoid" else None
        self.embed_step = SinusoidEmbedding(width)
        self.embed_identity = nn.Embedding(config.max_persons, width)
        self.embed_class = nn.Embedding(len(config.person_classes), width, padding_idx=0)
        self.embed_action = nn.Embedding(len(config.actions), width, padding_idx=0)
        self.embed_text = nn.Linear(config.text_dim, width)
        self.embed_points = nn.Linear(POINTS_PER_GROUP * 3, width)
        self.embed_heights = HeightTokens(width) if config.height_map else None
        self.embed_known = nn.Embedding(2, width, padding_idx=0) if config.editable else None
        self.modulated = config.step == "modulation"
        kind = ModulatedBlock if self.modulated else PlainBlock
        sizes = (width, config.heads, config.feedforward, config.dropout, config.qk_norm)
        self.blocks = nn.ModuleList(kind(*sizes) for _ in range(config.layers))
        if self.modulated:
            self.modulation = nn.Linear(width, (NUM_MODULATIONS + 2) * width)
            self.output_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.output = nn.Linear(width, features)
        if self.modulated:  # all layers begin as identity, the output as zero
            for layer in (self.modulation, self.output):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        x_t: Float[Tensor, "batch person frame feature"],
        t: Int[Tensor, " batch"],
        conditions: Conditions,
    ) -> Float[Tensor, "batch person frame feature"]:
        """Predict in one call, with conditions that change at every call (training)."""
        return self.denoise(x_t, t, self.prepare(conditions))

    def prepare(self, conditions: Conditions) -> Prepared:
        """Embed the conditions, once for all steps."""
        weight_type = self.output.weight.dtype  # bf16 weights take bf16 inputs
        prefix = [self.embed_points(conditions.points.flatten(-2).to(weight_type))]
        masks = [conditions.points_valid]
        words_BCLD = self.embed_text(conditions.text.to(weight_type))
        words_valid_BCL = conditions.text_valid
        caption_BCD = _mean(words_BCLD, words_valid_BCL)
        if self.config.text == "words":
            words_BCLD = words_BCLD + self._caption_owner(conditions, words_BCLD.shape[1])[:, :, None]
        prefix.append(words_BCLD.flatten(1, 2))
        masks.append(words_valid_BCL.flatten(1))
        if self.embed_heights is not None:
            tokens = self.embed_heights(conditions.heights.to(weight_type))
            prefix.append(tokens)
            masks.append(masks[0].new_ones(tokens.shape[:2]))
        prefix_BSD = torch.cat(prefix, dim=1)
        motion_valid_BPN = self._chunks(conditions.valid[..., None]).any(dim=-1)
        if not self.modulated:  # the step's token comes first
            masks.insert(0, masks[0].new_ones(len(prefix_BSD), 1))
        mask_BS = torch.cat([*masks, motion_valid_BPN.flatten(1)], dim=1)
        return Prepared(
            prefix=prefix_BSD,
            added=self._added(conditions, caption_BCD),
            caption=caption_BCD[:, 0],
            valid=conditions.valid,
            mask=None if bool(mask_BS.all()) else mask_BS[:, None, None],
            turns=self._turns(mask_BS.shape[1], motion_valid_BPN),
        )

    def denoise(
        self,
        x_t: Float[Tensor, "batch person frame feature"],
        t: Int[Tensor, " batch"],
        prepared: Prepared,
    ) -> Float[Tensor, "batch person frame feature"]:
        """Predict ε, x_0 or v at `x_t` and `t` with prepared conditions."""
        weight_type = self.output.weight.dtype
        x_BPNF = self._motion_tokens(x_t, prepared.valid).to(weight_type)
        motion_BSD = (self.embed_motion(x_BPNF) + prepared.added).flatten(1, 2)
        step_BD = self.embed_step(t)
        modulation_BMD, prefix = None, [prepared.prefix]
        if self.modulated:
            modulation_BMD = self.modulation(F.silu(step_BD + prepared.caption)).unflatten(
                -1, (NUM_MODULATIONS + 2, -1)
            )
        else:
            prefix.insert(0, step_BD[:, None])
        x_BSD = torch.cat([*prefix, motion_BSD], dim=1)
        for block in self.blocks:
            layer_BMD = None if modulation_BMD is None else modulation_BMD[:, :NUM_MODULATIONS]
            x_BSD = block(x_BSD, prepared.mask, prepared.turns, layer_BMD)
        motion_BSD = x_BSD[:, -motion_BSD.shape[1] :]
        if modulation_BMD is not None:
            shift_B1D, scale_B1D = modulation_BMD[:, NUM_MODULATIONS:, None].unbind(1)
            motion_BSD = modulate(self.output_norm(motion_BSD), shift_B1D, scale_B1D)
        out_BPNF = self.output(motion_BSD).unflatten(1, x_BPNF.shape[1:3])
        return out_BPNF.unflatten(-1, (self.config.frames_per_token, -1)).flatten(2, 3)[:, :, : x_t.shape[2]]

    def _chunks(self, values_BPTF: Tensor) -> Tensor:
        """Put neighbouring frames side by side: (batch, person, token, frames_per_token * feature)."""
        together = self.config.frames_per_token
        padded = F.pad(values_BPTF, (0, 0, 0, -values_BPTF.shape[2] % together))
        return padded.unflatten(2, (-1, together)).flatten(-2)

    def _motion_tokens(self, x_BPTF: Tensor, valid_BPT: Tensor) -> Tensor:
        if self.config.frames_per_token == 1:
            return x_BPTF  # tokens of frames that are not valid are masked
        return self._chunks(x_BPTF * valid_BPT[..., None])

    def _added(self, conditions: Conditions, caption_BCD: Tensor) -> Tensor:
        """Sum the embeddings that are added to each motion token."""
        together = self.config.frames_per_token
        frame_BPTD = self.embed_action(conditions.action)
        if self.embed_known is not None:
            frame_BPTD = frame_BPTD + self.embed_known(conditions.known.long())
        added_BPND = self._chunks(frame_BPTD).unflatten(-1, (together, -1)).mean(dim=-2)
        person_BPD = self.embed_identity(conditions.identity) + self.embed_class(conditions.person_class)
        if caption_BCD.shape[1] > 1:  # a caption of one's own
            person_BPD = person_BPD + caption_BCD[:, 1:]
        added_BPND = added_BPND + person_BPD[:, :, None]
        if self.embed_frame is None:
            return added_BPND
        return added_BPND + self.embed_frame(together * torch.arange(added_BPND.shape[2], device=added_BPND.device))

    def _caption_owner(self, conditions: Conditions, captions: int) -> Tensor:
        """Embed the identity of each person caption's person; zero for the scene caption."""
        owner_BPD = self.embed_identity(conditions.identity)[:, : captions - 1]
        return F.pad(owner_BPD, (0, 0, 1, 0))

    def _turns(self, tokens: int, motion_valid_BPN: Tensor) -> Turns | None:
        """Turn motion tokens with their frame; tokens before them do not turn."""
        if self.config.time == "sinusoid":
            return None
        _, persons, number = motion_valid_BPN.shape
        frames = self.config.frames_per_token * torch.arange(number, device=motion_valid_BPN.device)
        positions = F.pad(frames.repeat(persons), (tokens - persons * number, 0))
        return rotary_turns(positions, self.config.width // self.config.heads)


class HeightTokens(nn.Module):
    """Tokens of the height map, one for each patch, as in a vision transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        rows, columns = HEIGHT_SHAPE
        self.embed = nn.Linear(HEIGHT_PATCH**2 * 2, width)
        self.place = nn.Parameter(0.02 * torch.randn(rows * columns // HEIGHT_PATCH**2, width))

    def forward(self, heights: Float[Tensor, "batch row column 2"]) -> Float[Tensor, "batch token width"]:
        return self.embed(height_patches(heights)) + self.place


def _mean(words_BCLD: Tensor, valid_BCL: Tensor) -> Tensor:
    """Average over the valid words; zero where there are none."""
    total = (words_BCLD * valid_BCL[..., None]).sum(dim=2)
    return total / valid_BCL.sum(dim=2).clamp_min(1)[..., None]
