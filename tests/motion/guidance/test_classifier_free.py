"""Classifier-free guidance, joint and separated by condition."""

from pathlib import Path

import torch

from motion.denoiser import Conditions
from motion.guidance import ClassifierFree, Guide, Separated
from tests.helpers.conditions import conditions
from tests.helpers.golden import load


def estimate(given: Conditions) -> torch.Tensor:
    """Return 1, and 2 more with the text, 4 more with a class, 8 more with an action."""
    answer = 1.0 + 2 * given.text_valid[:, 0, 0] + 4 * (given.person_class[:, 0] > 0) + 8 * (given.action[:, 0, 0] > 0)
    return answer.view(-1, 1, 1, 1).expand(-1, *given.valid.shape[1:], 4)


def guided(guide: Guide, given: Conditions) -> list[float]:
    branches = guide.branches(given)
    assert len(branches.valid) == guide.num_forward_passes * len(given.valid)
    return guide.combine(estimate(branches))[:, 0, 0, 0].tolist()


def all_conditions(batch: int) -> Conditions:
    given = conditions(batch, 1, 2, 8)
    given.person_class.fill_(2)
    given.action.fill_(3)
    return given


def test_each_sample_has_its_own_scale() -> None:
    """The estimate is unconditional + s (conditional - unconditional), eq. 2.21."""
    assert guided(ClassifierFree(torch.tensor([0.0, 1.0, 3.5])), conditions(3, 1, 2, 8)) == [1.0, 3.0, 8.0]


def test_golden_mdm_guided_by_its_text(golden: Path) -> None:
    """A network that answers as MDM did, by whether it hears the caption, gives MDM's own mixture at 2.5."""
    reference = load(golden / "denoisers" / "mdm.npz")
    guide = ClassifierFree(torch.tensor([2.5, 2.5]))
    branches = guide.branches(conditions(2, 1, 20, 8))
    heard = branches.text_valid.any(dim=(1, 2)).view(-1, 1, 1, 1)
    answers = [reference[f"out.{branch}"].repeat(2, 1, 1, 1) for branch in ("cond", "uncond")]
    torch.testing.assert_close(guide.combine(torch.where(heard, *answers)), reference["out.cfg25"], atol=1e-6, rtol=0)


def test_each_condition_has_its_own_scale() -> None:
    scales = {"text": torch.tensor([0.0, 1.0, 3.0]), "action": torch.tensor([0.0, 1.0, 0.5])}
    assert guided(Separated(scales), all_conditions(3)) == [1.0, 1 + 2 + 8, 1 + 3 * 2 + 0.5 * 8]


def test_separated_without_scales_says_nothing_of_the_conditions() -> None:
    assert guided(Separated({}), all_conditions(2)) == [1.0, 1.0]


def test_branches_keep_identities_and_valid_frames() -> None:
    given = conditions(2, 3, 2, 8)
    given.valid[1, 2] = False
    for guide in (ClassifierFree(torch.ones(2)), Separated({"text": torch.ones(2), "scene": torch.ones(2)})):
        branches, times = guide.branches(given), guide.num_forward_passes
        assert torch.equal(branches.identity, given.identity.repeat(times, 1))
        assert torch.equal(branches.valid, given.valid.repeat(times, 1, 1))
