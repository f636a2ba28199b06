"""Synthetic DeepMimic clips in their true layout, good ones and broken ones."""

import json
import math
from pathlib import Path
from typing import Any

IDENTITY = [1.0, 0.0, 0.0, 0.0]


def frame(
    duration: float = 1 / 30,
    position: tuple[float, float, float] = (0.0, 0.85, 0.0),
    knee: float = 0.0,
    elbow: float = 0.0,
    root: list[float] = IDENTITY,
    chest: list[float] = IDENTITY,
) -> list[float]:
    """Make one row at rest but for what is given; knees and elbows alike on both sides."""
    leg, arm = [*IDENTITY, knee, *IDENTITY], [*IDENTITY, elbow]
    return [duration, *position, *root, *chest, *IDENTITY, *leg, *arm, *leg, *arm]


def write(path: Path, frames: Any) -> Path:
    path.write_text(json.dumps({"Loop": "none", "Frames": frames}), encoding="utf-8")
    return path


def text(frames: Any) -> str:
    return json.dumps({"Loop": "none", "Frames": frames})


def kneeling(steps: int, depth: float) -> list[list[float]]:
    """Bend both knees and straighten them again."""
    return [frame(knee=-depth * math.sin(math.pi * k / steps), elbow=depth * k / steps) for k in range(steps)]


BROKEN: dict[str, tuple[str, str]] = {
    "no frames": ('{"Loop": "wrap"}', "holds no frames"),
    "empty frames": (text([]), "holds no frames"),
    "a list": ("[1, 2]", "holds no frames"),
    "a short row": (text([frame(), frame()[:-1]]), "frame 1 is 43 columns, expected 44"),
    "no row": (text([frame(), 3]), "frame 1 is int, expected 44"),
    "a word": (text([["x", *frame()[1:]]]), "other than numbers"),
    "not finite": (text([frame(), frame(knee=float("nan"))]), "frame 1 holds NaN"),
    "zero quaternion": (text([frame(chest=[0.0] * 4)]), "zero quaternion at the chest"),
    "cut short": (text(kneeling(9, 1.0))[:999], "is not JSON"),
    "no text": ("\x00\x01", "is not JSON"),
    "far too fast": (text([frame(duration=1e-5)] * 3), "has 100000 frames per second"),
    "no duration": (text([frame(duration=0.0), frame()]), "frame 0 lasts 0 s"),
}


def write_dataset(folder: Path) -> list[str]:
    """Write two clips; return their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, depth in (("bend", 0.6), ("deep", 1.4)):
        write(folder / f"humanoid3d_{name}.txt", kneeling(40, depth))
    return ["deepmimic/humanoid3d_bend", "deepmimic/humanoid3d_deep"]


def write_malformed(folder: Path) -> dict[str, str]:
    """Write broken clips; return by id what each one's sentence must match."""
    for case, (content, _) in BROKEN.items():
        (folder / f"humanoid3d_{case.replace(' ', '_')}.txt").write_text(content)
    return {f"deepmimic/humanoid3d_{case.replace(' ', '_')}": message for case, (_, message) in BROKEN.items()}
