"""Sizes of the denoiser, and which variant of each part it has."""

from dataclasses import dataclass
from typing import Literal

from motion.features import NUM_FEATURES
from motion.skeleton import ACTIONS, PERSON_CLASSES


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the network, and its departures from the thesis' network."""

    width: int
    """Length of a token's vector."""
    layers: int
    """Number of transformer layers."""
    heads: int
    """Attention heads per layer."""
    feedforward: int
    """Width of the feed-forward networks."""
    text_dim: int
    """Length of the text encoder's vectors."""
    dropout: float = 0.1
    """Share of activations and attention weights dropped in training."""
    max_persons: int = 16
    """Size of the pool that identities are drawn from."""
    num_features: int = NUM_FEATURES
    """Numbers per person and frame (`motion.features`)."""
    step: Literal["token", "modulation"] = "token"
    """Input of step and caption: a token each, or AdaLN-zero in every layer."""
    time: Literal["sinusoid", "rotary"] = "sinusoid"
    """Encoding of the frame: a sinusoid added to the tokens, or rotary attention."""
    text: Literal["vector", "words"] = "vector"
    """Tokens of a caption: one, or one a word."""
    qk_norm: bool = False
    """Whether queries and keys are normalized to unit size."""
    frames_per_token: int = 1
    """Frames of a person per token; a token of many features cannot carry their noise, so predict x_0."""
    height_map: bool = False
    """Whether the room's height map gives tokens."""
    editable: bool = False
    """Whether tokens carry a mark that their frames are constraints and not noisy."""
    actions: tuple[str, ...] = ACTIONS
    """Names of the actions, in the order of the network's own numbers; 0 means "unknown"."""
    person_classes: tuple[str, ...] = PERSON_CLASSES
    """Names of the person classes, in the order of the network's own numbers; 0 means "unknown"."""
