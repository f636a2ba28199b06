"""Separation of persons in sampling without a change to how they move."""

import torch
from torch import Tensor

from motion.features import NUM_FEATURES, POSITIONS, VELOCITIES, Normalizer
from motion.generator.estimate_corrections import keeping_apart

APART = 0.35
T = torch.zeros(2, dtype=torch.long)
VALID = torch.ones(2, 3, 10, dtype=torch.bool)
NOBODY = torch.zeros_like(VALID)
NORMALIZER = Normalizer(
    torch.randn(NUM_FEATURES, generator=torch.Generator().manual_seed(1)),
    torch.rand(NUM_FEATURES, generator=torch.Generator().manual_seed(2)) + 0.5,
)


def crowd() -> Tensor:
    """Make two scenes of three persons whose pelvises are all within a few centimetres."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 10, NUM_FEATURES, generator=generator)
    features[..., :2] = 0.02 * torch.randn(2, 3, 10, 2, generator=generator)
    return NORMALIZER.normalize(features)


def adjusted(x0: Tensor, valid: Tensor = VALID, known: Tensor = NOBODY) -> Tensor:
    return keeping_apart(APART, valid, known, NORMALIZER)(x0, x0, T)


def gaps(x0: Tensor) -> Tensor:
    """Compute metres between the pelvises of each two persons in each frame."""
    pelvis = NORMALIZER.denormalize(x0)[..., :2]
    return (pelvis[:, [0, 0, 1]] - pelvis[:, [1, 2, 2]]).norm(dim=-1)


def shifts(x0: Tensor) -> Tensor:
    """Compute how each joint of each person has moved in each frame."""
    change = NORMALIZER.denormalize(x0) - NORMALIZER.denormalize(crowd())
    return change[..., POSITIONS].unflatten(-1, (-1, 3))


def test_people_in_one_place_come_apart() -> None:
    assert gaps(crowd()).max() < 0.2
    assert gaps(adjusted(crowd())).min() > APART - 0.05


def test_each_is_shifted_over_the_floor_as_a_whole() -> None:
    x0 = adjusted(crowd())
    moved = shifts(x0)
    torch.testing.assert_close(moved, moved[:, :, :1, :1].expand_as(moved), atol=1e-5, rtol=0)
    assert moved[..., 2].abs().max() < 1e-5
    assert torch.equal(x0[..., VELOCITIES.start :], crowd()[..., VELOCITIES.start :])


def test_who_is_far_enough_stays() -> None:
    x0 = crowd()
    x0[:, 1, :, POSITIONS] += 5 / NORMALIZER.std[POSITIONS]
    x0[:, 2, :, POSITIONS] -= 5 / NORMALIZER.std[POSITIONS]
    assert torch.equal(adjusted(x0), x0)


def test_who_is_given_anything_stays_and_the_others_give_way() -> None:
    known = NOBODY.clone()
    known[:, 1, :3] = True
    x0 = adjusted(crowd(), known=known)
    assert torch.equal(x0[:, 1], crowd()[:, 1])
    assert gaps(x0).min() > APART - 0.05


def test_who_is_not_there_pushes_nobody() -> None:
    valid = VALID.clone()
    valid[:, 2] = False
    x0 = adjusted(crowd(), valid)
    assert torch.equal(x0[:, 2], crowd()[:, 2])
    alone = keeping_apart(APART, valid[:, :2], NOBODY[:, :2], NORMALIZER)(crowd()[:, :2], crowd()[:, :2], T)
    torch.testing.assert_close(x0[:, :2], alone)


def test_order_of_people_and_scenes_does_not_matter() -> None:
    order = [2, 0, 1]
    torch.testing.assert_close(adjusted(crowd()[:, order]), adjusted(crowd())[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(adjusted(crowd().flip(0)), adjusted(crowd()).flip(0))
