"""Annotations of a simulated sequence: boxes and keypoints, with errors of known kind and size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from motion.errors import InputError
from recon.keypoints import ALIASES
from recon.simulate.records import Simulated
from recon.teton import Track

HIDDEN_SCORE = 0.3  # score of a keypoint that is hidden but inside the image
HIDDEN_NOISE_FACTOR = 2.0  # times the noise of a visible keypoint
PRESENT_SHARE = 0.1  # of a person's pixels that must be seen to be annotated at all
OCCLUDED_SHARE = 0.5  # of a person's pixels; annotated as occluded when less is seen


@dataclass(frozen=True)
class AnnotationNoise:
    """Kinds and sizes of the errors in simulated annotations; all zero means exact annotations."""

    keypoint_noise: float = 0.0
    """Standard deviation of each keypoint's x and y in pixels; doubled for hidden keypoints."""
    outliers: float = 0.0
    """Share of the keypoints that are moved `outlier_distance` pixels in a random direction."""
    outlier_distance: tuple[float, float] = (30.0, 60.0)
    """Smallest and largest displacement of an outlier in pixels."""
    missing: float = 0.0
    """Share of the keypoints that are not annotated (score 0)."""
    swapped: float = 0.0
    """Share of a person's frames in which left and right keypoints are exchanged."""
    box_jitter: float = 0.0
    """Standard deviation of each side of a box, as a share of its width or height."""


CLEAN = AnnotationNoise()
NOISY = AnnotationNoise(keypoint_noise=5.0, outliers=0.1, missing=0.03, swapped=0.02, box_jitter=0.05)


def annotate(
    simulated: Simulated, names: Sequence[str], noise: AnnotationNoise, rng: np.random.Generator
) -> tuple[Track, ...]:
    """Annotate every person of the motion, in its order; a person is present where a tenth of their pixels is seen.

    `names` are the keypoints to annotate. Raises InputError for a name that the body does not have.
    """
    columns = _columns(simulated, names)
    return tuple(_track(simulated, person, columns, names, noise, rng) for person in range(len(simulated.seen)))


def object_ids(simulated: Simulated) -> tuple[str, ...]:
    """List the object ids of the annotated persons: "0", "1", … in the order of the motion."""
    return tuple(str(person) for person in range(len(simulated.seen)))


def _columns(simulated: Simulated, names: Sequence[str]) -> list[int]:
    own = [ALIASES.get(name, name) for name in names]
    unknown = [name for name, known in zip(names, own, strict=True) if known not in simulated.keypoint_names]
    if unknown:
        known = ", ".join((*simulated.keypoint_names, *ALIASES))
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
    present = simulated.seen[person] >= PRESENT_SHARE
    pixels, visible = simulated.keypoints[person][:, columns], simulated.visible[person][:, columns]
    keypoints = _with_errors(pixels, visible, (width, height), names, noise, rng)
    return Track(
        object_id=object_ids(simulated)[person],
        person_class=int(simulated.motion.person_class[person]),
        present=present,
        boxes=_jittered(simulated.boxes[person], noise.box_jitter, (width, height), rng) * present[:, None],
        keypoints=(keypoints * present[:, None, None]).astype(np.float32),
        action=np.where(present, simulated.motion.action[person], 0).astype(np.int8),
        occluded=present & (simulated.seen[person] < OCCLUDED_SHARE),
    )


def _with_errors(
    pixels: Float32[np.ndarray, "frame keypoint 2"],
    visible: Bool[np.ndarray, "frame keypoint"],
    image_size: tuple[int, int],
    names: Sequence[str],
    noise: AnnotationNoise,
    rng: np.random.Generator,
) -> Float[np.ndarray, "frame keypoint 3"]:
    """Annotate a person's keypoints with errors: x, y in pixels and score; zeros where not annotated."""
    inside = ((pixels >= 0) & (pixels <= np.array(image_size) - 1)).all(axis=-1)
    score = np.where(visible, 1.0, np.where(inside, HIDDEN_SCORE, 0.0))
    clicked, score = _swapped(_misplaced(pixels, visible, noise, rng), score, names, noise, rng)
    score = np.where(rng.random(score.shape) < noise.missing, 0.0, score)
    return np.concatenate([clicked, score[..., None]], axis=-1) * (score > 0)[..., None]


def _misplaced(
    pixels: Float32[np.ndarray, "frame keypoint 2"],
    visible: Bool[np.ndarray, "frame keypoint"],
    noise: AnnotationNoise,
    rng: np.random.Generator,
) -> Float[np.ndarray, "frame keypoint 2"]:
    spread = noise.keypoint_noise * np.where(visible, 1.0, HIDDEN_NOISE_FACTOR)
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
    """Exchange left and right keypoints in a random share of the frames."""
    other = [names.index(_across(name)) if _across(name) in names else k for k, name in enumerate(names)]
    frames = rng.random(len(pixels)) < noise.swapped
    return (
        np.where(frames[:, None, None], pixels[:, other], pixels),
        np.where(frames[:, None], score[:, other], score),
    )


def _across(name: str) -> str:
    """Swap "left" and "right" in the name of a keypoint."""
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def _jittered(
    boxes: Float32[np.ndarray, "frame 4"], share: float, image_size: tuple[int, int], rng: np.random.Generator
) -> Float32[np.ndarray, "frame 4"]:
    """Move the sides of boxes without turning a box inside out; clip them to the image."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moves = (share * rng.normal(size=boxes.shape)).clip(-0.4, 0.4)
    return (boxes + sides * moves).clip(0, np.tile(np.array(image_size), 2)).astype(np.float32)
