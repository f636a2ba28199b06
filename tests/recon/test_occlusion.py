"""Masks of planted duplicates and true poses, in crowds of the DeepMimic clips before a room's camera."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import load_body
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import KEYPOINT_SETS
from recon.keypoints import body_keypoints
from recon.occlusion import mask_duplicates, mask_unlike
from recon.people import People
from recon.simulate.cameras import look
from tests.helpers.crowds import crowd

CLIPS = ("walk", "run", "dance_a", "kick", "punch", "crawl", "getup_faceup", "jump")
SCENES, FRAMES = 25, 10


@dataclass(frozen=True, eq=False)
class Scene:
    """Annotated persons, and the projections of a body network's answer for each."""

    keypoints: Float[Tensor, "person frame keypoint 3"]
    true: Float[Tensor, "person frame keypoint 2"]
    duplicates: Float[Tensor, "person frame keypoint 2"]
    """Take the nearest neighbour's pose, with an error different from its own."""

    def masks(self, mask: Callable[[Tensor, Tensor], Tensor]) -> tuple[Bool[Tensor, " true"], Bool[Tensor, " planted"]]:
        """Compute which true poses are kept, and which duplicates that are planted on one person at a time."""
        kept = [mask(torch.where(one, self.duplicates, self.true), self.keypoints) for one in self.persons()]
        planted = torch.stack([row[person] for person, row in enumerate(kept)])
        return mask(self.true, self.keypoints).flatten(), planted.flatten()

    def persons(self) -> Bool[Tensor, "one person 1 1 1"]:
        return torch.eye(len(self.true), dtype=torch.bool)[..., None, None, None]


@lru_cache
def scenes(keypoint_set: str) -> list[Scene]:
    return [make_scene(np.random.default_rng(seed), keypoint_set) for seed in range(SCENES)]


def make_scene(rng: np.random.Generator, keypoint_set: str) -> Scene:
    """Place 2 to 4 persons, two of them 0.35 to 0.8 m apart.

    In each frame up to 80 % of one person's keypoints are not annotated, 5 % are clicked anywhere near.
    """
    body, count = load_body("default"), int(rng.integers(2, 5))
    places = torch.from_numpy(rng.uniform((-1.2, 1.8), (1.2, 4.5), (count, 2))).float()
    angle, apart = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.8)
    places[1] = places[0] + apart * torch.tensor([np.cos(angle), np.sin(angle)]).float()
    people = crowd(list(rng.choice(CLIPS, count)), places, FRAMES, rng)
    camera = look(rng.uniform(2.0, 2.8), rng.uniform(20, 45), rng.normal(), rng.uniform(60, 100), (512, 384))
    points = body_keypoints(body, KEYPOINT_SETS[keypoint_set])
    pixels = camera.project(people.keypoints(body, points))
    wrong = rng.random(pixels.shape[:3]) < 0.05
    noise = rng.normal(0, np.where(wrong, 60, rng.uniform(3, 5))[..., None], pixels.shape)
    annotated = rng.random(pixels.shape[:3]) >= rng.uniform(0, 0.8, (*pixels.shape[:2], 1))
    true, again = (camera.project(predict(people, rng).keypoints(body, points)) for _ in range(2))
    return Scene(
        keypoints=torch.cat([pixels + torch.from_numpy(noise).float(), torch.from_numpy(annotated)[..., None]], dim=-1),
        true=true,
        duplicates=again.gather(0, neighbours(pixels)[..., None, None].expand_as(again)),
    )


def predict(people: People, rng: np.random.Generator) -> People:
    """Add a body network's errors: 7 degrees at each joint and in each axis, 4 cm."""

    def turns(rotations: Tensor) -> Tensor:
        return matrix_from_axis_angle(torch.from_numpy(rng.normal(0, 0.12, (*rotations.shape[:-2], 3))).float())

    return replace(
        people,
        transl=people.transl + torch.from_numpy(rng.normal(0, 0.04, people.transl.shape)).float(),
        global_orient=people.global_orient @ turns(people.global_orient),
        body_pose=people.body_pose @ turns(people.body_pose),
    )


def neighbours(pixels: Float[Tensor, "person frame keypoint 2"]) -> Tensor:
    """Find the other person who is nearest in the image, by person and frame."""
    middle = pixels.mean(dim=2)
    apart = (middle[:, None] - middle[None]).norm(dim=-1)
    return apart.masked_fill(torch.eye(len(pixels), dtype=torch.bool)[..., None], torch.inf).argmin(dim=1)


@pytest.mark.parametrize("keypoint_set", ["coco17", "openpose25"])
def test_duplicates_are_masked_and_true_poses_are_not(keypoint_set: str) -> None:
    kept = [scene.masks(mask_duplicates) for scene in scenes(keypoint_set)]
    true, planted = (torch.cat(parts).float().mean().item() for parts in zip(*kept, strict=True))
    assert 1 - true <= 0.02
    assert 1 - planted >= 0.95


def test_poses_unlike_the_annotation_are_dropped() -> None:
    """Nearly no body with a network's error is dropped, and nearly all that are upside down or beside the person."""
    dropped = {"true": [], "beside": [], "upside down": []}
    for scene in scenes("coco17"):
        annotated = (scene.keypoints[..., 2] > 0).sum(dim=-1) >= 4
        size = scene.true.amax(dim=2) - scene.true.amin(dim=2)
        for name, projected in {
            "true": scene.true,
            "beside": scene.true + size.norm(dim=-1)[..., None, None] * torch.tensor([0.4, 0.0]),
            "upside down": 2 * scene.true.mean(dim=2, keepdim=True) - scene.true,
        }.items():
            dropped[name].append(~mask_unlike(projected, scene.keypoints)[annotated])
    rates = {name: torch.cat(parts).float().mean().item() for name, parts in dropped.items()}
    assert rates["true"] <= 0.02
    assert min(rates["beside"], rates["upside down"]) >= 0.95


def pair(apart: float) -> tuple[Tensor, Tensor]:
    """Annotate two persons of one pose, a hundred pixels high and this many pixels apart."""
    pose = torch.from_numpy(np.random.default_rng(0).uniform((0, 0), (40, 100), (17, 2))).float()
    projected = torch.stack([pose, pose + torch.tensor([apart, 0.0])])[:, None]
    return projected, torch.cat([projected, torch.ones(2, 1, 17, 1)], dim=-1)


def test_who_is_nowhere_annotated_is_masked_only_on_top_of_another() -> None:
    projected, keypoints = pair(apart=60.0)
    keypoints[0] = 0
    assert mask_duplicates(projected, keypoints).all()
    projected[0] = projected[1] + 1.0
    assert mask_duplicates(projected, keypoints).squeeze(1).tolist() == [False, True]
    assert mask_unlike(projected, keypoints).all()


def test_one_keypoint_of_another_is_no_proof() -> None:
    """The body hides another person of whom just one hand shows, on the body itself."""
    projected, keypoints = pair(apart=60.0)
    keypoints[0, :, :, :2] += 4.0
    keypoints[1, :, 1:, 2] = 0
    keypoints[1, :, 0, :2] = projected[0, :, 0]
    assert mask_duplicates(projected, keypoints)[0].all()


def test_a_tie_is_kept() -> None:
    projected, keypoints = pair(apart=0.0)
    assert mask_duplicates(projected, keypoints).all()


def test_a_person_alone_is_no_duplicate() -> None:
    projected, keypoints = pair(apart=0.0)
    assert mask_duplicates(projected[:1] + 500.0, keypoints[:1]).all()
    assert not mask_unlike(projected[:1] + 500.0, keypoints[:1]).any()
