"""Focal length of made-up rooms, estimated from persons of the DeepMimic clips who walk through them."""

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import load_body
from motion.skeleton import ACTIONS, KEYPOINT_SETS
from recon.calibration import DEFAULT_FIELD_OF_VIEW_DEG, estimate_intrinsics
from recon.camera import Camera, unproject
from recon.keypoints import body_keypoints
from recon.simulate.cameras import look
from recon.teton import TetonSequence, Track
from tests.helpers.crowds import crowd

IMAGE_SIZE = (512, 384)
NAMES = KEYPOINT_SETS["coco17"]
CROSSINGS, FRAMES = 5, 20  # each person crosses the room five times for two seconds
ROOMS = 10


def test_focal_length_from_walking_people() -> None:
    """Tilts are 10 to 60 degrees, fields of view 50 to 90, one to three persons, 4 px of keypoint noise."""
    errors, standard = [], []
    for seed in range(ROOMS):
        rng = np.random.default_rng(seed)
        camera = look(rng.uniform(2, 2.8), 10 + 50 * seed / ROOMS, rng.normal(), rng.uniform(50, 90), IMAGE_SIZE)
        people = [walker(camera, "walk", rng) for _ in range(int(rng.integers(1, 4)))]
        found = estimate_intrinsics(sequence_of(people))
        errors.append(abs(float(found.intrinsics[0, 0] / camera.intrinsics[0, 0]) - 1))
        standard.append(found.relative_error)
        assert float(found.intrinsics[0, 2]) == (IMAGE_SIZE[0] - 1) / 2
    assert statistics.median(errors) <= 0.10
    assert statistics.median(standard) <= 0.15
    normal = [error / sigma for error, sigma in zip(errors, standard, strict=True)]
    assert statistics.mean(value**2 for value in normal) <= 1.5**2  # as sure as it says, by half


def test_crawling_people_mislead_neither_labelled_nor_not(rng: np.random.Generator) -> None:
    camera = look(2.5, 35.0, 0.0, 75.0, IMAGE_SIZE)
    upright = [walker(camera, "walk", rng) for _ in range(2)]
    crawling = [walker(camera, "crawl", rng)]
    alone = estimate_intrinsics(sequence_of(upright))
    labelled = estimate_intrinsics(sequence_of(upright + crawling, actions=[0, 0, ACTIONS.index("crawling")]))
    unlabelled = estimate_intrinsics(sequence_of(upright + crawling))
    torch.testing.assert_close(labelled.intrinsics, alone.intrinsics, rtol=1e-3, atol=0.1)
    assert abs(float(unlabelled.intrinsics[0, 0] / camera.intrinsics[0, 0]) - 1) < 0.15
    assert 100 < unlabelled.samples < 150  # of 200, a third of which crawl


def test_without_upright_people_the_default_is_said_to_be_one(rng: np.random.Generator) -> None:
    camera = look(2.5, 35.0, 0.0, 60.0, IMAGE_SIZE)
    people = [walker(camera, "walk", rng)]
    unseen = [person * torch.tensor([1.0, 1.0, 0.0]) for person in people]
    for sequence in (sequence_of(people, actions=[ACTIONS.index("laying_in_bed")]), sequence_of(unseen)):
        found = estimate_intrinsics(sequence)
        assert found.samples == 0
        view = 2 * np.degrees(np.arctan(IMAGE_SIZE[0] / 2 / float(found.intrinsics[0, 0])))
        np.testing.assert_allclose(view, DEFAULT_FIELD_OF_VIEW_DEG, rtol=1e-5)


def test_keypoints_that_fit_no_camera_are_not_believed(rng: np.random.Generator) -> None:
    keypoints = np.concatenate([rng.uniform(0, 384, (100, len(NAMES), 2)), np.ones((100, len(NAMES), 1))], axis=-1)
    found = estimate_intrinsics(sequence_of([torch.from_numpy(keypoints).float()]))
    assert found.samples == 0


def walker(camera: Camera, clip: str, rng: np.random.Generator) -> Float[Tensor, "frame keypoint 3"]:
    """Annotate one person who crosses what the camera sees a few times, in any direction."""
    body = load_body("default")
    places = torch.stack([visible_place(camera, rng) for _ in range(CROSSINGS)])
    crossings = crowd([clip] * CROSSINGS, places, FRAMES, rng)
    crossings = replace(crossings, betas=crossings.betas[:1].expand(CROSSINGS, -1))
    points = crossings.keypoints(body, body_keypoints(body, NAMES)).flatten(0, 1)
    pixels = camera.project(points)
    inside = ((pixels >= 0) & (pixels < torch.tensor(IMAGE_SIZE))).all(dim=-1) & (camera.to_camera(points)[..., 2] > 0)
    pixels = pixels + torch.from_numpy(rng.normal(0, 4, pixels.shape)).float()
    return torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1) * inside[..., None]


def visible_place(camera: Camera, rng: np.random.Generator) -> Float[Tensor, "2"]:
    """Draw a point of the floor within 6.5 m above which a head is in the image too, if there is one."""
    for _ in range(200):
        pixel = torch.from_numpy(rng.uniform((40, 120), (472, 384))).float()
        ray = camera.to_world(unproject(pixel, torch.tensor(1.0), camera.intrinsics)) - camera.center
        place = camera.center + ray * (camera.center[2] / -ray[2])
        head = camera.project(place + torch.tensor([0.0, 0.0, 1.55]))
        in_view = bool(((head > 0) & (head < torch.tensor(IMAGE_SIZE))).all())
        if ray[2] < 0 and float(place.norm()) < 6.5 and in_view:
            break
    return place[:2]


def sequence_of(people: list[Float[Tensor, "frame keypoint 3"]], actions: list[int] | None = None) -> TetonSequence:
    """Build a sequence of these keypoints, a person each."""
    frames = len(people[0])
    tracks = tuple(
        Track(
            object_id=str(index),
            person_class=1,
            present=np.ones(frames, dtype=bool),
            boxes=np.zeros((frames, 4), dtype=np.float32),
            keypoints=keypoints.numpy(),
            action=np.full(frames, actions[index] if actions else 0, dtype=np.int8),
            occluded=np.zeros(frames, dtype=bool),
        )
        for index, keypoints in enumerate(people)
    )
    return TetonSequence(Path("room"), "a/b/c/room", IMAGE_SIZE, 10.0, None, NAMES, frames, tracks, (0,))
