"""Frames and ground truth of a staged simulation: persons drawn into their room."""

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageFilter

from motion.sequence import MotionSequence
from motion.skeleton import PERSON_CLASSES
from recon.keypoints import ALIASES, body_keypoints, known_names
from recon.people import people_of
from recon.simulate import render
from recon.simulate.clothes import dress
from recon.simulate.people import Person, Stage
from recon.simulate.records import Simulated
from recon.teton import PERSON_LABEL

LIMB_RADIUS_M = 0.12  # between a keypoint inside a limb and the skin in front of it
NEAREST_M = 0.1  # from the camera; nothing nearer is drawn
STAFF = PERSON_CLASSES.index("medical_staff")


def film(rng: np.random.Generator, stage: Stage, people: list[Person], name: str) -> Simulated:
    """Render a stage with its persons and collect the ground truth; `name` becomes the motion's id and scene_id."""
    light = render.random_light(rng, stage.room)
    background, light = render.draw_room(rng, stage.room, stage.camera, light)
    motion = together(people, name)
    frames, depth, labels, boxes, seen = _shoot(rng, stage, motion, background, light)
    names = tuple(n for n in known_names(stage.body) if n not in ALIASES)
    keypoints, distances = _keypoints(stage, motion, names)
    return Simulated(
        frames, depth, labels, background.depth, background.labels, stage.camera, motion, names,
        keypoints, _visible(keypoints, distances, depth), boxes, seen,
    )  # fmt: skip


def together(people: list[Person], name: str) -> MotionSequence:
    """Join one-person motions into one record, persons in the given order, roles in the provenance."""
    motions = [person.motion for person in people]
    arrays: dict[str, Any] = {key: np.concatenate([getattr(m, key) for m in motions]) for key in MotionSequence.ARRAYS}
    roles = ", ".join(person.role for person in people)
    return replace(motions[0], id=name, scene_id=name, provenance={"roles": roles}, **arrays)


def _shoot(
    rng: np.random.Generator, stage: Stage, motion: MotionSequence, background: render.Background, light: render.Light
) -> tuple[np.ndarray, ...]:
    """Render all frames; return frames, depth, labels, boxes and the share of each person that is seen."""
    body, camera, (persons, num_frames) = stage.body, stage.camera, motion.transl.shape[:2]
    size = background.depth.shape
    frames = np.empty((num_frames, *size, 3), dtype=np.uint8)
    depth = np.empty((num_frames, *size), dtype=np.float32)
    labels = np.empty((num_frames, *size), dtype=np.uint8)
    boxes = np.zeros((persons, num_frames, 4), dtype=np.float32)
    seen = np.zeros((persons, num_frames), dtype=np.float32)
    models = [render.PersonMesh.of(body, dress(rng, body, int(code) == STAFF)) for code in motion.person_class]
    rays, finish = render.rays_of(camera), Finish.random(rng)
    for frame in range(num_frames):
        vertices = body.vertices(motion.parameters[:, frame : frame + 1])[:, 0]
        drawn = [render.draw_figure(*pair, camera, rays, light) for pair in zip(models, vertices.numpy(), strict=True)]
        present = [(person, figure) for person, figure in enumerate(drawn) if figure is not None]
        color = _composite(stage, background, light, present, depth[frame], labels[frame])
        for person, figure in present:
            boxes[person, frame], seen[person, frame] = _extent(labels[frame], figure, PERSON_LABEL + person)
        frames[frame] = finish(rng, color)
    return frames, depth, labels, boxes, seen


def _composite(
    stage: Stage,
    background: render.Background,
    light: render.Light,
    present: list[tuple[int, render.DrawnPerson]],
    depth: np.ndarray,
    labels: np.ndarray,
) -> Float32[np.ndarray, "height width 3"]:
    """Put persons, each with its number, into the empty room; fill `depth` and `labels` and return the colours."""
    color, lamp = background.color.copy(), background.lamp.copy()
    depth[:], labels[:] = background.depth, background.labels
    for _, figure in present:
        render.shade(color, lamp, background.points, figure, light, stage.room, stage.camera)
    for person, figure in present:
        _put_in(color, depth, labels, figure, PERSON_LABEL + person)
    return color


def _put_in(color: np.ndarray, depth: np.ndarray, labels: np.ndarray, figure: render.DrawnPerson, label: int) -> None:
    """Draw a person, in place, where nothing is nearer to the camera."""
    x0, y0, x1, y1 = figure.box
    nearer = figure.depth < depth[y0:y1, x0:x1]
    color[y0:y1, x0:x1][nearer] = figure.color[nearer]
    depth[y0:y1, x0:x1][nearer] = figure.depth[nearer]
    labels[y0:y1, x0:x1][nearer] = label


def _extent(labels: np.ndarray, figure: render.DrawnPerson, label: int) -> tuple[np.ndarray, float]:
    """Compute the box of a person's pixels, hidden ones included, and the share of those pixels that is seen."""
    x0, y0, x1, y1 = figure.box
    own = np.isfinite(figure.depth)
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    box = np.array([x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1], dtype=np.float32)
    return box, float((labels[y0:y1, x0:x1] == label).sum() / own.sum())


@dataclass(frozen=True)
class Finish:
    """Effect of lens, sensor and compression on linear light; the same for all frames of a sequence."""

    blur: float
    """Radius of the Gaussian blur in pixels."""
    noise: float
    """Standard deviation of the sensor noise in grey levels (of 255)."""
    quality: int
    """JPEG quality, 1 to 95."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Finish":
        """Draw blur, noise and compression."""
        return cls(rng.uniform(0.3, 0.8), rng.uniform(1.0, 5.0), int(rng.integers(55, 96)))

    def __call__(
        self, rng: np.random.Generator, color: Float32[np.ndarray, "height width 3"]
    ) -> UInt8[np.ndarray, "height width 3"]:
        """Turn linear colours into 8-bit RGB through blur, noise and JPEG compression."""
        image = Image.fromarray(render.to_bytes(color)).filter(ImageFilter.GaussianBlur(self.blur))
        noise = self.noise * rng.standard_normal(color.shape, dtype=np.float32)
        noisy = (np.asarray(image) + noise + 0.5).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file))


def _keypoints(stage: Stage, motion: MotionSequence, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Compute every keypoint's pixel and its depth along the optical axis (metres)."""
    points = people_of(motion).keypoints(stage.body, body_keypoints(stage.body, names))
    return stage.camera.project(points).numpy(), stage.camera.to_camera(points)[..., 2].numpy()


def _visible(keypoints: np.ndarray, distances: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Mark the keypoints that lie inside the image and that nothing hides (True = visible)."""
    height, width = depth.shape[1:]
    x, y = np.round(keypoints.clip(-1e4, 1e4)).astype(int).transpose(3, 0, 1, 2)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (distances > NEAREST_M)
    frame = np.arange(depth.shape[0])[None, :, None]
    met = depth[frame, y.clip(0, height - 1), x.clip(0, width - 1)]
    return inside & (met > distances - LIMB_RADIUS_M)
