"""SMPL's parameters move, mirror and blend as their joints do; moves and mirrors fail without the rest pelvis."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motion.body import Body, load_body
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import MIRRORED
from motion.smpl_parameters import SmplParameters, mirrored_rotations
from tests.helpers.clips import random_clip

SHAPES = {"frame": ((4,), ()), "person, frame": ((2, 3), (2,)), "view": ((5,), (5,)), "one body": ((), ())}
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def low_body() -> Body:
    """Make the default body with its pelvis far from its origin; SMPL's own lies 22 cm below it."""
    body = load_body()
    return replace(body, joint_template=body.joint_template + torch.tensor([0.0, -0.4, 0.3]))


BODY = low_body()


def turns(generator: torch.Generator, *shape: int) -> Tensor:
    return matrix_from_axis_angle(torch.randn(*shape, 3, generator=generator))


def bodies(seed: int = 0, shape: tuple[int, ...] = (2, 3), shapes: tuple[int, ...] = (2,)) -> SmplParameters:
    generator = torch.Generator().manual_seed(seed)
    return SmplParameters(
        transl=torch.randn(*shape, 3, generator=generator),
        global_orient=turns(generator, *shape),
        body_pose=turns(generator, *shape, 23),
        betas=torch.randn(*shapes, 10, generator=generator),
    )


def move(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return turns(generator), 3 * torch.randn(3, generator=generator)


def assert_same(found: SmplParameters, expected: SmplParameters, atol: float = 1e-5) -> None:
    for name, tensor in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), tensor, atol=atol, rtol=0, msg=name)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(sorted(SHAPES)))
def test_moved_parameters_give_the_moved_joints_and_skin(seed: int, kind: str) -> None:
    parameters, (rotation, translation) = bodies(seed, *SHAPES[kind]), move(seed + 1)
    moved = parameters.moved(rotation, translation, BODY)
    expected = parameters.joints(BODY) @ rotation.T + translation
    torch.testing.assert_close(moved.joints(BODY), expected, atol=2e-5, rtol=0)


def test_skin_moves_along() -> None:
    parameters, (rotation, translation) = bodies(), move(1)
    moved = load_body().vertices(parameters.moved(rotation, translation, load_body()))
    expected = load_body().vertices(parameters) @ rotation.T + translation
    torch.testing.assert_close(moved, expected, atol=2e-5, rtol=0)


def test_two_moves_are_one() -> None:
    parameters, (first, there), (second, further) = bodies(), move(1), move(2)
    twice = parameters.moved(first, there, BODY).moved(second, further, BODY)
    assert_same(twice, parameters.moved(second @ first, second @ there + further, BODY))
    back = parameters.moved(first, there, BODY).moved(first.T, -first.T @ there, BODY)
    assert_same(back, parameters)


def test_each_of_a_batch_may_move_by_itself() -> None:
    parameters = bodies(0, *SHAPES["view"])
    moves = [move(seed) for seed in range(5)]
    rotations, translations = (torch.stack(parts) for parts in zip(*moves, strict=True))
    together = parameters.moved(rotations, translations, BODY)
    for k, (rotation, translation) in enumerate(moves):
        assert_same(together[k : k + 1], parameters[k : k + 1].moved(rotation, translation, BODY))


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_a_mirror_shows_the_mirrored_joints_and_twice_nothing(kind: str) -> None:
    parameters = bodies(0, *SHAPES[kind])
    mirrored = parameters.mirrored(BODY)
    expected = parameters.joints(BODY)[..., list(MIRRORED), :] * MIRROR
    torch.testing.assert_close(mirrored.joints(BODY), expected, atol=1e-5, rtol=0)
    assert_same(mirrored.mirrored(BODY), parameters)
    torch.testing.assert_close(mirrored.rotations, mirrored_rotations(parameters.rotations))


def test_the_pelvis_of_a_lopsided_body_is_mirrored_too() -> None:
    lopsided = replace(BODY, joint_template=BODY.joint_template + torch.tensor([0.1, 0.0, 0.0]))
    parameters = bodies()
    pelvis = parameters.mirrored(lopsided).joints(lopsided)[..., 0, :]
    torch.testing.assert_close(pelvis, parameters.joints(lopsided)[..., 0, :] * MIRROR)


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_bodies_are_placed_by_their_pelvis(kind: str) -> None:
    parameters = bodies(0, *SHAPES[kind])
    pelvis = parameters.joints(BODY)[..., 0, :]
    assert_same(SmplParameters.from_pelvis(pelvis, parameters.rotations, parameters.betas, BODY), parameters)


def test_gradients_flow_through_moves_and_mirrors() -> None:
    parts = [tensor.requires_grad_() for tensor in vars(bodies()).values()]
    rotation, translation = (tensor.requires_grad_() for tensor in move(1))
    moved = SmplParameters(*parts).moved(rotation, translation, BODY).mirrored(BODY)
    (moved.joints(BODY) * torch.randn(24, 3)).sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in (*parts, rotation, translation))


def test_blending_starts_and_ends_at_the_two() -> None:
    start, end = bodies(0), bodies(1)
    weight = torch.tensor([[0.0, 1.0, 0.5]]).expand(2, 3)
    mixed = start.blended(replace(end, betas=start.betas), weight)
    assert_same(mixed[:, :1], start[:, :1])
    assert_same(mixed[:, 1:2], replace(end, betas=start.betas)[:, 1:2])
    torch.testing.assert_close(mixed.transl[:, 2], (start.transl + end.transl)[:, 2] / 2)


def test_a_mask_chooses_poses_and_keeps_the_shapes() -> None:
    one, other = bodies(0), bodies(1)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    chosen = one.where(mask, other)
    for name in ("transl", "rotations"):
        assert torch.equal(getattr(chosen, name)[mask], getattr(one, name)[mask])
        assert torch.equal(getattr(chosen, name)[~mask], getattr(other, name)[~mask])
    assert torch.equal(chosen.betas, one.betas)


def test_indices_choose_persons_and_frames_and_shapes_follow_the_persons() -> None:
    parameters = bodies()
    joints = parameters.joints(BODY)
    for index in ((slice(None), slice(0, 2)), (slice(1, 2),), (torch.tensor([1, 0]), slice(2, None))):
        torch.testing.assert_close(parameters[index].joints(BODY), joints[index], atol=1e-6, rtol=0)
    pairs = (torch.tensor([1, 0, 1]), torch.tensor([2, 0, 1]))
    torch.testing.assert_close(parameters[pairs].joints(BODY), joints[pairs], atol=1e-6, rtol=0)


def test_a_record_and_back() -> None:
    clip = random_clip(load_body())
    same = replace(clip, **clip.parameters.posed_arrays(load_body()))
    for name in type(clip).ARRAYS:
        np.testing.assert_array_equal(getattr(same, name), getattr(clip, name), err_msg=name)
    assert same.body == clip.body
