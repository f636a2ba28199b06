"""Procedural colours of surfaces: plain, noise, wood, tiles, checks and stripes; linear RGB from 0 to 1."""

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from motion.render import GAMMA

WAVES = 6


@dataclass(frozen=True, eq=False)
class Material:
    """Procedural surface of two colours, mixed by the pattern `kind` and a smooth noise.

    `waves` holds the noise's wave vectors (1/m) and phases (rad) as x, y, z, phase.
    """

    kind: str
    colors: Float32[np.ndarray, "2 3"]
    scale: float
    """Size of one tile, check, stripe or board in metres."""
    waves: Float32[np.ndarray, "wave 4"]
    glow: float = 0.0
    """Emitted light, relative to the albedo's scale; above 0 for windows and lamps."""

    def albedo(
        self, points: Float[np.ndarray, "point 3"], normals: Float[np.ndarray, "point 3"]
    ) -> Float32[np.ndarray, "point 3"]:
        """Compute the linear RGB colour of a part's points; points (metres) and normals are in the part's own frame."""
        axis = np.abs(normals).argmax(axis=1)
        u = np.where(axis == 0, points[:, 1], points[:, 0])
        v = np.where(axis == 2, points[:, 1], points[:, 2])
        share = _PATTERNS[self.kind](u / self.scale, v / self.scale)
        noise = np.sin(points @ self.waves[:, :3].T + self.waves[:, 3]).mean(axis=1)
        share = np.clip(share + _NOISE[self.kind] * noise, 0, 1)[:, None]
        return ((1 - share) * self.colors[0] + share * self.colors[1]).astype(np.float32)


def _plain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.zeros_like(u)


def _even(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.full_like(u, 0.5)


def _wood(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Pattern boards along v, each of its own shade, with grain and dark joints."""
    board = np.floor(u)
    shade = 0.5 + 0.4 * np.sin(board * 12.9898 + 4.1)
    grain = 0.12 * np.sin(60 * u + 2 * np.sin(0.8 * v + board))
    return np.where(u - board < 0.04, 1.0, 0.6 * (shade + grain))


def _tiles(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    joint = (u - np.floor(u) < 0.04) | (v - np.floor(v) < 0.04)
    return np.where(joint, 1.0, 0.1 + 0.1 * np.sin(np.floor(u) * 7.3 + np.floor(v) * 3.7))


def _checks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (np.floor(u) + np.floor(v)) % 2


def _stripes(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.floor(u) % 2


_PATTERNS = {"plain": _plain, "noise": _even, "wood": _wood, "tiles": _tiles, "checks": _checks, "stripes": _stripes}
_NOISE = {"plain": 0.15, "noise": 1.2, "wood": 0.25, "tiles": 0.15, "checks": 0.1, "stripes": 0.1}
"""Amplitude of the smooth noise in each pattern's mix of colours."""


def color(
    rng: np.random.Generator, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> Float32[np.ndarray, "3"]:
    """Draw a linear RGB colour; the ranges of hue, saturation and value are those of the picture, 0 to 1."""
    rgb = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    return (np.array(rgb) ** GAMMA).astype(np.float32)


def random_material(rng: np.random.Generator, use: str) -> Material:
    """Draw a material for a use: "wall", "floor", "wood", "cloth", "linen" or "paint"."""
    kinds, scales, hue, saturation, value = _USES[use]
    first = color(rng, hue, saturation, value)
    second = np.clip(first * rng.uniform(0.45, 0.9) if rng.random() < 0.7 else color(rng, hue, saturation, value), 0, 1)
    kind = str(rng.choice(kinds))
    directions = rng.normal(size=(WAVES, 3)) * rng.choice([3.0, 12.0, 40.0], size=(WAVES, 1))
    waves = np.concatenate([directions, rng.uniform(0, 2 * math.pi, size=(WAVES, 1))], axis=1)
    return Material(kind, np.stack([first, second]).astype(np.float32), rng.uniform(*scales), waves.astype(np.float32))


Range = tuple[float, float]
_USES: dict[str, tuple[tuple[str, ...], Range, Range, Range, Range]] = {
    # kinds, metres, hue, saturation, value
    "wall": (("plain", "plain", "noise", "stripes", "tiles"), (0.1, 0.6), (0.0, 1.0), (0.0, 0.25), (0.6, 0.95)),
    "floor": (("wood", "tiles", "noise", "checks", "plain"), (0.12, 0.5), (0.02, 0.14), (0.05, 0.5), (0.3, 0.8)),
    "wood": (("wood", "plain", "noise"), (0.08, 0.4), (0.04, 0.12), (0.1, 0.65), (0.25, 0.9)),
    "cloth": (("plain", "noise", "checks", "stripes"), (0.03, 0.2), (0.0, 1.0), (0.0, 0.6), (0.25, 0.95)),
    "linen": (("plain", "noise", "stripes", "checks"), (0.04, 0.2), (0.0, 1.0), (0.0, 0.25), (0.7, 0.97)),
    "paint": (("plain",), (0.2, 0.5), (0.0, 1.0), (0.0, 0.4), (0.4, 0.95)),
}  # fmt: skip
