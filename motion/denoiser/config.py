"""Sizes of the denoiser, and which variant of each part it has."""

from dataclasses import dataclass
from typing import Literal

from motion.features import NUM_FEATURES


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the network, and where it departs from the thesis'."""

    width: int
    layers: int
    heads: int
    feedforward: int
    text_dim: int
    dropout: float = 0.1
    max_persons: int = 16
    """Size of the pool that identities are drawn from."""
    num_features: int = NUM_FEATURES
    step: Literal["token", "modulation"] = "token"
    """How step and caption come in: a token each, or AdaLN-zero in every layer."""
    time: Literal["sinusoid", "rotary"] = "sinusoid"
    text: Literal["vector", "words"] = "vector"
    """One token a caption, or one a word."""
    qk_norm: bool = False
    frames_per_token: int = 1
    """Fewer tokens than frames; a token of many features cannot carry their noise, so predict x_0."""
    height_map: bool = False
    """Whether the room's height map gives tokens."""
    editable: bool = False
    """Whether tokens are told that their frames are given and not noisy."""
