"""Classifier-free guidance."""

import torch

from motion.conditions import Conditions
from motion.guidance import ClassifierFree
from tests.motion.test_denoiser import conditions


def estimate(x_t: torch.Tensor, t: torch.Tensor, given: Conditions) -> torch.Tensor:
    """3 with the text, 1 without."""
    return torch.where(given.text_valid[:, 0, 0], 3.0, 1.0).view(-1, 1, 1, 1).expand_as(x_t)


def test_each_sample_has_its_own_scale() -> None:
    """Eq. 2.21: unconditional + s (conditional - unconditional)."""
    scale = torch.tensor([0.0, 1.0, 3.5])
    guided = ClassifierFree(scale)(
        estimate, torch.zeros(3, 1, 2, 4), torch.zeros(3, dtype=torch.long), conditions(3, 1, 2, 8)
    )
    torch.testing.assert_close(guided[:, 0, 0, 0], torch.tensor([1.0, 3.0, 8.0]))


def test_both_branches_share_one_forward() -> None:
    seen: list[Conditions] = []

    def record(x_t: torch.Tensor, t: torch.Tensor, given: Conditions) -> torch.Tensor:
        seen.append(given)
        return x_t

    given = conditions(2, 3, 2, 8)
    ClassifierFree(torch.ones(2))(record, torch.zeros(2, 3, 2, 4), torch.zeros(2, dtype=torch.long), given)
    assert len(seen) == 1
    assert seen[0].text_valid.flatten().tolist() == [True, True, False, False]
    assert torch.equal(seen[0].identity, given.identity.repeat(2, 1)), "both branches see the same identities"
    assert seen[0].valid.all(), "the unconditional branch keeps the mask of valid frames"
