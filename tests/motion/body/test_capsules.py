"""Capsules about the bones: how much of the mesh they hold, how low they reach, whose shape they follow."""

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.body.capsules import fit_capsules, rest_skin
from motion.clips.ground import lowest_skin
from motion.datasets import deepmimic
from tests.helpers.capsules import grid, inside, standing

BODY = load_body()


def test_capsules_hold_three_quarters_of_the_mesh() -> None:
    bodies = standing((0, 0, 0))
    mesh = BODY.v_template.numpy()[BODY.faces]
    volume = 1000 * np.einsum("fi,fi->", mesh[:, 0], np.cross(mesh[:, 1], mesh[:, 2])) / 6
    assert 0.75 * volume < bodies.shares.sum() < volume
    points, litres = grid(bodies)
    assert bodies.shares.sum() == pytest.approx(litres * inside(points, bodies, 0).sum(), rel=0.02)


def test_capsules_reach_as_low_as_the_skin() -> None:
    """Walking, kicking, getting up from the back agree within 1 cm in the median; standing on the heels is lowest."""
    for clip in deepmimic.list_clips():
        if clip.id.endswith(("walk", "kick", "getup_faceup")):
            sequence = deepmimic.read_clip(clip, BODY)
            error = fit_capsules(sequence.joints, sequence.betas, BODY).lowest() - lowest_skin(sequence, BODY)
            assert np.median(np.abs(error)) < 0.01
            assert np.percentile(np.abs(error), 90) < 0.04


def test_capsules_follow_the_shape() -> None:
    """Persons with more skin have more capsule."""
    volumes, meshes = [], []
    for size in (-2.0, 0.0, 2.0):
        betas = np.array([[0, size, 0, 0, 0, 0, 0, 0, 0, 0]], dtype=np.float32)
        joints = BODY.rest_joints(torch.from_numpy(betas)).numpy()[:, None]
        volumes.append(fit_capsules(joints, betas, BODY).shares.sum())
        mesh = rest_skin(BODY, betas[0])[BODY.faces]
        meshes.append(1000 * np.einsum("fi,fi->", mesh[:, 0], np.cross(mesh[:, 1], mesh[:, 2])) / 6)
    assert np.array(volumes) / meshes == pytest.approx(0.75, abs=0.1)
    assert np.array_equal(np.argsort(volumes), np.argsort(meshes))
