"""Uncertainty of places: against a dense restatement, and against what must make a place more or less sure."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.skeleton import ACTIONS, KEYPOINT_SETS
from recon.fitting.uncertainty import Uncertainty, uncertainty
from recon.keypoints import body_keypoints
from recon.observations import Observations
from recon.people import People
from tests.helpers.fitted_motions import room_camera

BODY = load_body()
NAMES = KEYPOINT_SETS["coco17"]
FRAMES, FPS = 12, 10.0
STANDING, SITTING = (ACTIONS.index(name) for name in ("standing_on_floor", "sitting_in_chair"))


def standing(persons: int = 2, away: float = 4.0) -> People:
    """Stand persons upright before the camera, each a metre farther aside and half a metre farther away."""
    upright = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    number = torch.arange(persons)[:, None]
    place = torch.stack([1.0 * number - 0.5, away + 0.5 * number, torch.full_like(1.0 * number, 0.9)], dim=-1)
    return People(
        transl=place.expand(persons, FRAMES, 3).clone(),
        global_orient=upright.expand(persons, FRAMES, 3, 3),
        body_pose=torch.eye(3).expand(persons, FRAMES, 23, 3, 3),
        betas=torch.zeros(persons, 10),
        valid=torch.ones(persons, FRAMES, dtype=torch.bool),
    )


def seen(people: People, missed: float = 3.0, larger: float = 1.0) -> Observations:
    """Observe the persons by keypoints that are some pixels off, with depth in frames 2 and 9, and the first standing.

    Keypoints span `larger` times what the persons do, 5 % less at first and 5 % more at last. The room is uncertain.
    """
    camera = room_camera()
    growth = torch.linspace(larger - 0.05, larger + 0.05, FRAMES)[:, None, None]
    middle = torch.tensor(camera.image_size) / 2
    pixels = camera.project(people.keypoints(BODY, body_keypoints(BODY, NAMES))) - middle
    pixels = middle + growth * pixels + torch.tensor([missed, 0.0])
    confidence = torch.ones(pixels.shape[:3])
    confidence[:, :, ::3] = 0.3
    depth = torch.full_like(confidence, torch.nan)
    depth[:, [2, 9], 5] = 4.0
    action = torch.full(confidence.shape[:2], SITTING, dtype=torch.int8)
    action[0, :4] = STANDING
    return Observations(
        camera,
        FPS,
        NAMES,
        pixels,
        confidence,
        depth,
        torch.full((4, 4), torch.nan),
        depth_error=0.1,
        room_error=(0.02, 0.03, 0.08),
        action=action,
        focal_error=0.05,
    )


def restated(people: People, observed: Observations) -> Uncertainty:
    """Restate the model with one dense matrix over all unknowns.

    Room's size, tilt, roll and focal length, then each person's stature, depth and the logarithms of their distances.
    """
    camera, persons = observed.camera, len(people.betas)
    width = 2 + FRAMES
    information = np.zeros((4 + persons * width,) * 2)
    tilt, roll, size = observed.room_error
    information[range(4), range(4)] = np.array([size, tilt, roll, observed.focal_error]) ** -2.0
    joints, placed = people.joints(BODY).double(), people.keypoints(BODY, body_keypoints(BODY, NAMES)).double()
    weight = observed.confidence.double().square().numpy()
    middle = (joints.mean(dim=2) - camera.center).numpy()
    distance, height = np.linalg.norm(middle, axis=-1), float(camera.center[2])
    shown, annotated = camera.project(placed.float()).double().numpy(), observed.keypoints.double().numpy()
    away = camera.to_camera(joints.float())[..., 2].mean(dim=-1).double().numpy()
    off = np.linalg.norm(shown - annotated, axis=-1)
    across = np.zeros((persons, FRAMES))

    def extent(points: np.ndarray, w: np.ndarray) -> float:
        spread = points - (w[:, None] * points).sum(0) / w.sum()
        return float(np.sqrt((w * np.square(spread).sum(-1)).sum()))

    def learn(row: dict[int, float], error: float) -> None:
        vector = np.zeros(len(information))
        vector[list(row)] = list(row.values())
        information[:] += np.outer(vector, vector) / error**2

    for p in range(persons):
        own = 4 + p * width
        missed = np.sort(off[p] * away[p][:, None] / float(camera.intrinsics[0, 0]), axis=None)
        noise = missed[(missed.size - 1) // 2] / 1.18
        steady = np.eye(FRAMES)
        metres = away[p] / float(camera.intrinsics[0, 0])
        sizes = np.array([extent(shown[p, f], weight[p, f]) for f in range(FRAMES)])
        grown = np.log(sizes / [extent(annotated[p, f], weight[p, f]) for f in range(FRAMES)])
        blur = noise / (sizes * metres)
        learn({own: 1.0}, np.sqrt(0.06**2 + np.median(grown) ** 2 + np.median(blur) ** 2))
        learn({own + 1: 1.0}, np.hypot(0.1, 0.01 / distance[p].mean()))
        for f in range(FRAMES):
            here, w, z = own + 2 + f, weight[p, f], distance[p, f]
            learn({here: 1.0}, 1.0)
            by_size = np.sqrt(blur[f] ** 2 + 0.05**2 + (grown[f] - np.median(grown)) ** 2)
            learn({here: 1.0, own: -1.0, 3: -1.0}, by_size)
            if f in (2, 9):
                learn({here: 1.0, own + 1: -1.0, 0: -1.0}, np.hypot(0.025, noise) / z)
            if p == 0 and f < 4:
                right, ahead = middle[p, f, :2] / height
                learn({here: 1.0, 0: -1.0, 1: -ahead, 2: -right, 3: -1.0}, 0.05 / height)
            if 0 < f < FRAMES - 1:
                curve = z * FPS**2 / 1.5
                learn({here - 1: curve, here: -2 * curve, here + 1: curve}, 1.0)
                bend = np.eye(FRAMES)[f - 1] - 2 * np.eye(FRAMES)[f] + np.eye(FRAMES)[f + 1]
                steady += np.outer(bend, bend) * (FPS**2 / 1.5) ** 2
            steady[f, f] += w.sum() / noise**2
        across[p] = np.sqrt(np.linalg.inv(steady).diagonal() + 0.006**2)
    variance = np.linalg.inv(information).diagonal()[4:].reshape(persons, width)[:, 2:]
    return Uncertainty(np.sqrt(variance) * distance, across)


def test_the_posterior_is_that_of_one_dense_matrix() -> None:
    people = standing()
    observed = seen(people)
    found, expected = uncertainty(people, observed, BODY), restated(people, observed)
    np.testing.assert_allclose(found.along, expected.along, rtol=1e-4)
    np.testing.assert_allclose(found.across, expected.across, rtol=1e-4)
    assert 0.1 < found.along.max() < 0.4
    assert (found.across < 0.5 * found.along).all()


def test_who_looks_larger_or_smaller_than_annotated_has_an_unsure_distance() -> None:
    """Bodies that a network puts half as far away again look a third smaller than their keypoints."""
    people = standing()
    base, *others = (uncertainty(people, seen(people, larger=larger), BODY).along for larger in (1.0, 1.5, 0.67))
    for found in others:
        assert (found > 1.3 * base).all()


def test_frames_that_are_not_valid_have_no_place() -> None:
    people = standing()
    people.valid[0, 4:] = False
    people.valid[1] = False
    found = uncertainty(people, seen(people), BODY)
    assert np.isfinite(found.along).tolist() == np.isfinite(found.across).tolist() == people.valid.tolist()


def test_depth_floor_and_a_known_room_make_the_distance_surer() -> None:
    people = standing()
    observed = seen(people)
    base = uncertainty(people, observed, BODY).along
    blind = replace(observed, depth=torch.full_like(observed.depth, torch.nan))
    assert (uncertainty(people, blind, BODY).along > 1.05 * base).all()
    nobody_stands = replace(observed, action=torch.full_like(observed.action, SITTING))
    assert (uncertainty(people, nobody_stands, BODY).along[0] > base[0]).all()
    known = replace(observed, room_error=(0.0, 0.0, 0.0), depth_error=0.0, focal_error=0.0)
    assert (uncertainty(people, known, BODY).along < 0.7 * base).all()
    assert (uncertainty(people, replace(observed, focal_error=0.2), BODY).along > 1.05 * base).all()


def test_whoever_stands_tells_of_the_others_too() -> None:
    """The room's size is everyone's: contact with the floor of a person without depth makes the other surer."""
    people = standing()
    observed = replace(seen(people, missed=0.5), depth_error=0.0, focal_error=0.0, room_error=(0.001, 0.001, 0.3))
    observed.depth[0] = torch.nan
    nobody = torch.full_like(observed.action, SITTING)
    stands = nobody.clone()
    stands[0] = STANDING
    alone, helped = (uncertainty(people, replace(observed, action=action), BODY).along for action in (nobody, stands))
    assert (helped[1] < 0.9 * alone[1]).all()


def test_places_between_keypoints_and_shaken_ones_are_less_sure() -> None:
    people = standing()
    observed = seen(people)
    base = uncertainty(people, observed, BODY)
    unseen = observed.confidence.clone()
    unseen[:, 4:8] = 0
    gap = uncertainty(people, replace(observed, confidence=unseen), BODY)
    assert (gap.across[:, 5:7] > 2 * base.across[:, 5:7]).all()
    shaken = uncertainty(people, seen(people, missed=12.0), BODY)
    assert (shaken.across > base.across).all()
    assert (shaken.along > base.along).all()


@pytest.mark.parametrize("frames", [1, 2])
def test_few_frames_have_a_place_too(frames: int) -> None:
    people = standing()
    people.valid[:, frames:] = False
    found = uncertainty(people, seen(people), BODY)
    assert np.isfinite(found.along[:, :frames]).all()


def test_many_frames_are_as_sure_as_a_dense_inverse_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variances are computed in blocks of frames; the size of the blocks changes nothing."""
    people = standing()
    whole = uncertainty(people, seen(people), BODY)
    monkeypatch.setattr("recon.fitting.uncertainty._BLOCK", 5)
    in_blocks = uncertainty(people, seen(people), BODY)
    np.testing.assert_allclose(in_blocks.along, whole.along, rtol=1e-9)
    np.testing.assert_allclose(in_blocks.across, whole.across, rtol=1e-9)
