"""Second statement of the modulated denoiser, token by token and head by head in double precision.

It follows the papers and shares no code with `motion.denoiser`: AdaLN-zero (Peebles and Xie 2023), one modulation for
all layers (Chen et al. 2023), rotary positions (Su et al. 2021), normalized queries and keys (Henry et al. 2020).
"""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from motion.denoiser import Conditions, DenoiserConfig

PATCH = 8  # cells of the height map a side


@dataclass
class Token:
    """Vector of a token, the frame it stands at (0 before the motion), and whether it may be attended to."""

    vector: np.ndarray
    frame: int
    there: bool


class Restated:
    """Denoiser of a modulated configuration with a network's weights; it takes one sample at a time."""

    def __init__(self, network: nn.Module, config: DenoiserConfig) -> None:
        self.config = config
        self.weights = {name: value.detach().double().numpy() for name, value in network.named_parameters()}

    def __call__(self, x_t: Tensor, t: int, given: Conditions, b: int) -> np.ndarray:
        """Predict for sample `b` of the conditions: (person, frame, feature)."""
        x, valid = x_t[b].double().numpy(), given.valid[b].numpy()
        captions = [self._words(given, b, c) for c in range(given.text.shape[1])]
        means = [np.mean(words, axis=0) if words else np.zeros(self.config.width) for words in captions]
        prefix = self._prefix(given, b)
        motion = [
            self._motion(x, valid, given, b, person, first, means)
            for person in range(x.shape[0])
            for first in range(0, x.shape[1], self.config.frames_per_token)
        ]
        modulation = self.linear("modulation", silu(self.step(t) + means[0])).reshape(8, -1)
        tokens = [*prefix, *motion]
        for layer in range(self.config.layers):
            tokens = self._block(f"blocks.{layer}", tokens, modulation[:6])
        shift, scale = modulation[6:]
        together, frames = self.config.frames_per_token, x.shape[1]
        chunks = -(-frames // together)
        out = np.zeros((x.shape[0], chunks * together, x.shape[2]))
        for index, token in enumerate(tokens[len(prefix) :]):
            person, chunk = divmod(index, chunks)
            features = self.linear("output", normal(token.vector) * (1 + scale) + shift)
            out[person, chunk * together : (chunk + 1) * together] = features.reshape(together, -1)
        return out[:, :frames]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.weights[f"{name}.weight"] @ x + self.weights.get(f"{name}.bias", 0)

    def step(self, t: int) -> np.ndarray:
        """Embed the step: sine and cosine in turn, then two layers."""
        width = self.config.width
        waves = [f(t / 10000 ** (2 * i / width)) for i in range(width // 2) for f in (math.sin, math.cos)]
        return self.linear("embed_step.mlp.2", silu(self.linear("embed_step.mlp.0", np.array(waves))))

    def _words(self, given: Conditions, b: int, caption: int) -> list[np.ndarray]:
        words = zip(given.text[b, caption].double().numpy(), given.text_valid[b, caption], strict=True)
        return [self.linear("embed_text", word) for word, told in words if told]

    def _prefix(self, given: Conditions, b: int) -> list[Token]:
        groups = zip(given.points[b].double().numpy(), given.points_valid[b], strict=True)
        tokens = [Token(self.linear("embed_points", group.ravel()), 0, bool(there)) for group, there in groups]
        for caption in range(given.text.shape[1]):
            owner = np.zeros(self.config.width)
            if self.config.text == "words" and caption > 0:
                owner = self.weights["embed_identity.weight"][given.identity[b, caption - 1]]
            for word, told in zip(given.text[b, caption].double().numpy(), given.text_valid[b, caption], strict=True):
                tokens.append(Token(self.linear("embed_text", word) + owner, 0, bool(told)))
        if self.config.height_map:
            heights = given.heights[b].double().numpy()
            corners = [(r, c) for r in range(0, heights.shape[0], PATCH) for c in range(0, heights.shape[1], PATCH)]
            for index, (row, column) in enumerate(corners):
                patch = heights[row : row + PATCH, column : column + PATCH].ravel()
                vector = self.linear("embed_heights.embed", patch) + self.weights["embed_heights.place"][index]
                tokens.append(Token(vector, 0, True))
        return tokens

    def _motion(
        self, x: np.ndarray, valid: np.ndarray, given: Conditions, b: int, person: int, first: int, means: list
    ) -> Token:
        together = self.config.frames_per_token
        features, marks = np.zeros((together, x.shape[2])), np.zeros((together, self.config.width))
        inside = range(first, min(first + together, x.shape[1]))
        for frame in inside:
            if valid[person, frame]:
                features[frame - first] = x[person, frame]
            if action := int(given.action[b, person, frame]):
                marks[frame - first] += self.weights["embed_action.weight"][action]
            if self.config.editable and given.known[b, person, frame]:
                marks[frame - first] += self.weights["embed_known.weight"][1]
        vector = self.linear("embed_motion", features.ravel()) + marks.sum(axis=0) / together
        vector = vector + self.weights["embed_identity.weight"][given.identity[b, person]]
        if group := int(given.person_class[b, person]):
            vector = vector + self.weights["embed_class.weight"][group]
        if len(means) > 1:
            vector = vector + means[1 + person]
        return Token(vector, first, any(valid[person, frame] for frame in inside))

    def _block(self, name: str, tokens: list[Token], modulation: np.ndarray) -> list[Token]:
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = modulation + self.weights[f"{name}.table"]
        seen = [Token(normal(t.vector) * (1 + scale_a) + shift_a, t.frame, t.there) for t in tokens]
        out = []
        for token, attended in zip(tokens, self._attention(f"{name}.attention", seen), strict=True):
            x = token.vector + gate_a * attended
            inner = gelu(self.linear(f"{name}.feedforward.0", normal(x) * (1 + scale_f) + shift_f))
            x = x + gate_f * self.linear(f"{name}.feedforward.3", inner)
            out.append(Token(x, token.frame, token.there))
        return out

    def _attention(self, name: str, tokens: list[Token]) -> list[np.ndarray]:
        width, heads = self.config.width, self.config.heads
        channels = width // heads
        mixed = np.zeros((len(tokens), width))
        parts = np.stack([self.linear(f"{name}.qkv", t.vector).reshape(3, heads, channels) for t in tokens])
        for head in range(heads):
            q = [self._turned(f"{name}.q_norm", parts[i, 0, head], t.frame) for i, t in enumerate(tokens)]
            k = [self._turned(f"{name}.k_norm", parts[i, 1, head], t.frame) for i, t in enumerate(tokens)]
            for i in range(len(tokens)):
                weight = [
                    math.exp(q[i] @ k[j] / math.sqrt(channels)) if other.there else 0.0
                    for j, other in enumerate(tokens)
                ]
                mixed[i, head * channels : (head + 1) * channels] = np.array(weight) / sum(weight) @ parts[:, 2, head]
        return [self.linear(f"{name}.out", row) for row in mixed]

    def _turned(self, norm: str, x: np.ndarray, frame: int) -> np.ndarray:
        """Normalize a query or key and turn each channel and its partner, half a head away, by the frame."""
        if self.config.qk_norm:
            x = x / np.sqrt(np.mean(x**2)) * self.weights[f"{norm}.weight"]
        half = len(x) // 2
        turned = np.zeros(len(x))
        for i in range(half):
            angle = frame / 10000 ** (i / half)
            turned[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
            turned[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
        return turned


def normal(x: np.ndarray) -> np.ndarray:
    """Normalize as LayerNorm does, without weights."""
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * np.array([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])
