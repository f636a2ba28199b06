"""Small sequences of the Teton tree, made in code, and damage to their annotations."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from motion.skeleton import ACTIONS, KEYPOINT_SETS, PERSON_CLASSES
from recon.teton import PERSON_LABEL, Track, write_sequence

WIDTH, HEIGHT, FRAMES = 64, 48, 5
NAMES = KEYPOINT_SETS["coco17"]
KEYFRAMES = (0, 3)


def make_track(rng: np.random.Generator, object_id: str, num_frames: int = FRAMES) -> Track:
    """Annotate a person who may be away, with some keypoints left out."""
    present = rng.random(num_frames) < 0.8
    present[0] = True
    corner = rng.uniform(-5, 40, (num_frames, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(6, 30, (num_frames, 2))], axis=1)
    keypoints = rng.uniform(0.01, 1, (num_frames, len(NAMES), 3))
    keypoints[..., :2] = corner[:, None] + keypoints[..., :2] * (boxes[:, None, 2:] - corner[:, None])
    keypoints[1:] *= rng.random((num_frames - 1, len(NAMES), 1)) < 0.8
    here = present[:, None]
    return Track(
        object_id,
        person_class=int(rng.integers(len(PERSON_CLASSES))),
        present=present,
        boxes=(boxes * here).astype(np.float32),
        keypoints=(keypoints * here[..., None]).astype(np.float32),
        action=(rng.integers(len(ACTIONS), size=num_frames) * present).astype(np.int8),
        occluded=(rng.random(num_frames) < 0.5) & present,
    )


def write_valid(folder: Path, tracks: list[Track], intrinsics: np.ndarray | None = None) -> None:
    """Write a valid sequence of these tracks, with random pixels and labels, each person's in the person's box."""
    rng = np.random.default_rng(1)
    masks = {number: rng.choice(np.array([0, 1, 9], dtype=np.uint8), (HEIGHT, WIDTH)) for number in KEYFRAMES}
    for number, mask in masks.items():
        for label, track in enumerate(tracks, start=PERSON_LABEL):
            x0, y0, x1, y1 = np.clip(track.boxes[number], 0, None).astype(int)
            mask[y0:y1, x0:x1][rng.random(mask[y0:y1, x0:x1].shape) < 0.5] = label
    write_sequence(
        folder,
        frames=(rng.integers(256, size=(HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(FRAMES)),
        tracks=tracks,
        image_size=(WIDTH, HEIGHT),
        fps=10.0,
        intrinsics=intrinsics,
        keypoint_names=NAMES,
        keyframes=KEYFRAMES,
        masks=masks,
    )


def change_annotations(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
