"""Tests of the learning rate's fall, and of the average of a network's weights."""

import pytest
import torch
from torch import nn

from motion.optimization import cosine_decay, weight_average


def filled(value: float, dtype: torch.dtype = torch.float32) -> nn.Linear:
    network = nn.Linear(3, 2).to(dtype)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(value)
    return network


def test_the_rate_falls_along_half_a_cosine_to_its_floor() -> None:
    assert [cosine_decay(progress) for progress in (-1.0, 0.0, 0.5, 1.0, 2.0)] == pytest.approx([1, 1, 0.5, 0, 0])
    assert cosine_decay(0.5, floor=0.2) == pytest.approx(0.6)
    assert cosine_decay(1.0, floor=0.2) == pytest.approx(0.2)


def test_the_average_follows_slowly_and_forgets_the_start() -> None:
    average = weight_average(nn.Linear(3, 2), decay=0.9)
    for _ in range(200):
        average.update_parameters(filled(1.0))
    assert all((each - 1).abs().max() < 1e-4 for each in average.module.parameters())
    average.update_parameters(filled(2.0))
    assert all((each - 1.1).abs().max() < 1e-4 for each in average.module.parameters())


def test_early_updates_keep_ever_more() -> None:
    """Update n keeps n / (n + 9): a tenth of the start first, then 2/11 of that."""
    average = weight_average(filled(1.0), decay=0.99)
    found = []
    for _ in range(2):
        average.update_parameters(filled(0.0))
        found.append(average.module.bias[0].item())
    assert found == pytest.approx([1 / 10, 1 / 10 * 2 / 11])


def test_a_count_that_is_set_goes_on_from_there() -> None:
    """Count 1 + steps, as after a resume, is the count of an average without a break."""
    whole, resumed = (weight_average(filled(1.0), decay=0.99) for _ in range(2))
    for _ in range(3):
        whole.update_parameters(filled(0.5))
    resumed.module.load_state_dict(whole.module.state_dict())
    resumed.n_averaged.fill_(1 + 3)
    for average in (whole, resumed):
        average.update_parameters(filled(0.0))
    assert torch.equal(whole.module.weight, resumed.module.weight)


def test_a_bf16_network_has_an_average_in_fp32() -> None:
    """The full-precision weights come as a list of tensors, as DeepSpeed gathers them."""
    average = weight_average(filled(1.0, torch.bfloat16), decay=0.99)
    weights = nn.ParameterList([torch.full((2, 3), 1 + 1e-4), torch.full((2,), 1 + 1e-4)])
    for _ in range(50):
        average.update_parameters(weights)
    assert {each.dtype for each in average.module.parameters()} == {torch.float32}
    assert not any(each.requires_grad for each in average.module.parameters())
    assert not average.module.training
    torch.testing.assert_close(average.module.bias, weights[1].detach(), atol=1e-6, rtol=0)
