"""Evaluator's network: persons, neighbours and frames where nobody is seen."""

from dataclasses import replace

import numpy as np
import torch

from motion.body import Body
from motion.evaluator import Evaluator
from motion.evaluator.network import Partners
from motion.sequence import MotionSequence
from tests.helpers.clips import random_clip
from tests.helpers.evaluators import embed, only


def test_persons_are_exchangeable_but_how_they_stand_to_each_other_counts(
    evaluator: Evaluator, dance: MotionSequence, body: Body
) -> None:
    swapped = only(dance, [1, 0])
    alone = only(dance, [0])
    apart = replace(dance, joints=dance.joints + np.array([[[[0, 0, 0]]], [[[2, 0, 0]]]], dtype=np.float32))
    base, other, single, further = embed(evaluator, dance, swapped, alone, apart)
    assert (base - other).abs().max() < 1e-5
    assert (base - single).norm() > 0.01
    assert (base - further).norm() > 1e-3


def test_a_motion_does_not_depend_on_its_neighbours_or_their_order(
    evaluator: Evaluator, dance: MotionSequence, body: Body
) -> None:
    others = [
        random_clip(body, persons, frames, seed) for seed, (persons, frames) in enumerate([(1, 50), (3, 9), (2, 30)])
    ]
    together = embed(evaluator, *others, dance)
    assert (embed(evaluator, dance)[0] - together[3]).abs().max() < 1e-5
    assert (embed(evaluator, dance, *others[::-1]) - together.flip(0)).abs().max() < 1e-5
    assert torch.allclose(together.norm(dim=1), torch.ones(4), atol=1e-5)


def test_frames_where_nobody_is_seen_do_not_count(evaluator: Evaluator, dance: MotionSequence) -> None:
    valid = dance.valid.copy()
    valid[1, 20:] = False
    hidden, changed = replace(dance, valid=valid), dance.joints.copy()
    changed[1, 20:] += 3
    base, moved, seen = embed(evaluator, hidden, replace(hidden, joints=changed), dance)
    assert (base - moved).abs().max() < 1e-6
    assert (base - seen).norm() > 1e-3
    nobody = replace(dance, valid=np.zeros_like(valid))
    assert torch.isfinite(embed(evaluator, nobody)).all()


def test_partners_are_the_others_of_a_sample_who_are_there() -> None:
    """Persons 1 and 2 share a sample, person 0 is alone; person 2 is not there in the second frame."""
    valid = torch.tensor([[True, True], [True, True], [True, False]])
    partners = Partners.of(torch.tensor([0, 1, 1]), valid)
    assert partners.rows.tolist() == [1, 2]
    assert partners.seen.tolist() == [[[False, True], [True, False]], [[False, False], [True, False]]]
