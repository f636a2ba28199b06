"""Small rendered rooms, and networks that see them as they are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from motion.body import load_body
from motion.skeleton import KEYPOINT_SETS
from recon.people import people_of
from recon.pipeline.perception import Perception
from recon.regressors.body_regressor import from_camera
from recon.regressors.crops import square_of
from recon.simulate import CLEAN, SimulateConfig, Truth, read_truth, simulate, write
from recon.teton import TetonSequence, read_sequence

SMALL = SimulateConfig(num_people=1, num_frames=6, image_size=(256, 192))


@dataclass(frozen=True, eq=False)
class Rendered:
    sequence: TetonSequence
    truth: Truth
    perception: Perception
    """Answers of perfect networks."""


def render(folder: Path, seed: int, config: SimulateConfig = SMALL) -> Rendered:
    write(simulate(seed, config), folder, KEYPOINT_SETS["coco17"], CLEAN, seed)
    sequence, truth = read_sequence(folder), read_truth(folder)
    return Rendered(sequence, truth, perfect(sequence, truth))


def perfect(sequence: TetonSequence, truth: Truth) -> Perception:
    """Compute the answers of networks without fault."""
    body, camera = load_body(), truth.camera
    people = people_of(truth.motion).moved(camera.extrinsics[:3, :3], camera.extrinsics[:3, 3], body)
    frame, person = np.nonzero(np.stack([track.present for track in sequence.tracks], axis=1))
    squares = np.stack([square_of(sequence.tracks[p].boxes[f]) for f, p in zip(frame, person, strict=True)])
    estimates = from_camera(people[person, frame], torch.from_numpy(squares), camera.intrinsics, body)
    depth = np.stack([truth.depth[number] for number in sequence.keyframes])
    return Perception(squares, person, frame, estimates, 1 / depth, depth)
