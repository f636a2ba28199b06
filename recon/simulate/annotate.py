"""What annotators would have made of a simulated sequence: boxes and keypoints with errors of known kind and size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from motion.body import load_body
from motion.errors import InputError
from recon.keypoints import ALIASES, known_names
from recon.simulate.records import Simulated
from recon.teton import Track

GUESSED = 0.3  # score of a keypoint that is hidden but inside the image
GUESS_NOISE = 2.0  # times the noise of one that is seen
PRESENT = 0.1  # share of a person's pixels that must be seen
OCCLUDED = 0.5


@dataclass(frozen=True)
class AnnotationNoise:
    keypoint_noise: float = 0.0
    """Standard deviation in pixels."""
    outliers: float = 0.0
    """Share of the keypoints that lie elsewhere, `outlier_distance` pixels away in any direction."""
    outlier_distance: tuple[float, float] = (30.0, 60.0)
    missing: float = 0.0
    """Share of the keypoints that are not annotated (score 0)."""
    swapped: float = 0.0
    """Share of a person's frames where left and right are confused."""
    box_jitter: float = 0.0
    """Standard deviation of each side of a box, as a share of its width or height."""


CLEAN = AnnotationNoise()
NOISY = AnnotationNoise(keypoint_noise=5.0, outliers=0.1, missing=0.03, swapped=0.02, box_jitter=0.05)


def annotate(
    simulated: Simulated, names: Sequence[str], noise: AnnotationNoise, rng: np.random.Generator
) -> tuple[Track, ...]:
    """A track of each person, in the order of the motion; present where a tenth of them is seen."""
    columns = _columns(simulated, names)
    return tuple(_track(simulated, person, columns, names, noise, rng) for person in range(len(simulated.seen)))


def object_ids(simulated: Simulated) -> tuple[str, ...]:
    return tuple(str(person) for person in range(len(simulated.seen)))


def _columns(simulated: Simulated, names: Sequence[str]) -> list[int]:
    own = [ALIASES.get(name, name) for name in names]
    unknown = [name for name, known in zip(names, own, strict=True) if known not in simulated.keypoint_names]
    if unknown:
        known = ", ".join(known_names(load_body(simulated.motion.body)))
        raise InputError(f"a simulation has no keypoint {unknown[0]!r}, expected some of {known}")
    return [simulated.keypoint_names.index(name) for name in own]


def _track(
    simulated: Simulated,
    person: int,
    columns: list[int],
    names: Sequence[str],
    noise: AnnotationNoise,
    rng: np.random.Generator,
) -> Track:
    height, width = simulated.depth.shape[1:]
    pixels = simulated.keypoints[person][:, columns]
    visible = simulated.visible[person][:, columns]
    inside = ((pixels >= 0) & (pixels <= np.array([width - 1, height - 1]))).all(axis=-1)
    score = np.where(visible, 1.0, np.where(inside, GUESSED, 0.0))
    pixels = _misplaced(pixels, visible, noise, rng)
    pixels, score = _swapped(pixels, score, names, noise, rng)
    score = np.where(rng.random(score.shape) < noise.missing, 0.0, score)
    present = simulated.seen[person] >= PRESENT
    keypoints = np.concatenate([pixels, score[..., None]], axis=-1) * (present[:, None] & (score > 0))[..., None]
    return Track(
        object_id=object_ids(simulated)[person],
        person_class=int(simulated.motion.person_class[person]),
        present=present,
        boxes=_jittered(simulated.boxes[person], noise.box_jitter, (width, height), rng) * present[:, None],
        keypoints=keypoints.astype(np.float32),
        action=np.where(present, simulated.motion.action[person], 0).astype(np.int8),
        occluded=present & (simulated.seen[person] < OCCLUDED),
    )


def _misplaced(
    pixels: Float32[np.ndarray, "frame keypoint 2"],
    visible: Bool[np.ndarray, "frame keypoint"],
    noise: AnnotationNoise,
    rng: np.random.Generator,
) -> Float[np.ndarray, "frame keypoint 2"]:
    spread = noise.keypoint_noise * np.where(visible, 1.0, GUESS_NOISE)
    moved = pixels + spread[..., None] * rng.normal(size=pixels.shape)
    angle = rng.uniform(-np.pi, np.pi, size=visible.shape)
    away = rng.uniform(*noise.outlier_distance, size=visible.shape)
    thrown = pixels + away[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.where((rng.random(visible.shape) < noise.outliers)[..., None], thrown, moved)


def _swapped(
    pixels: Float[np.ndarray, "frame keypoint 2"],
    score: Float[np.ndarray, "frame keypoint"],
    names: Sequence[str],
    noise: AnnotationNoise,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "frame keypoint 2"], Float[np.ndarray, "frame keypoint"]]:
    """Left and right exchanged in some frames."""
    other = [names.index(_across(name)) if _across(name) in names else k for k, name in enumerate(names)]
    frames = rng.random(len(pixels)) < noise.swapped
    return (
        np.where(frames[:, None, None], pixels[:, other], pixels),
        np.where(frames[:, None], score[:, other], score),
    )


def _across(name: str) -> str:
    """The name of the other side's keypoint."""
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def _jittered(
    boxes: Float32[np.ndarray, "frame 4"], share: float, image_size: tuple[int, int], rng: np.random.Generator
) -> Float32[np.ndarray, "frame 4"]:
    """Sides moved, but no box turned inside out; clipped to the image."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moves = (share * rng.normal(size=boxes.shape)).clip(-0.4, 0.4)
    return (boxes + sides * moves).clip(0, np.tile(np.array(image_size), 2)).astype(np.float32)
