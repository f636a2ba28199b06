"""Layers of the denoiser in training: what dropout leaves out, and that attention stays what it is."""

import pytest
import torch

from motion.denoiser.blocks import Attention, Dropout, rotary_turns


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_zeroes_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    kept = Dropout(share)(torch.ones(1001, 333))  # a number that is no multiple of 8
    assert (kept == 0).float().mean().item() == pytest.approx(share, abs=5e-3)
    assert kept.mean().item() == pytest.approx(1, abs=5e-3)


def test_dropout_stops_the_gradient_of_what_it_dropped() -> None:
    x = torch.ones(64, 64, requires_grad=True)
    kept = Dropout(0.3)(x)
    kept.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, kept.detach())


def test_dropout_is_nothing_outside_training() -> None:
    x = torch.randn(5, 7)
    assert torch.equal(Dropout(0.5).eval()(x), x)


def test_attention_with_dropout_is_attention_where_nothing_is_dropped() -> None:
    """A share below 1/512 rounds to none, and training takes the path that dropout has."""
    torch.manual_seed(0)
    attention, x = Attention(32, 4, dropout=1e-3, qk_norm=True), torch.randn(2, 9, 32)
    mask, turns = torch.ones(2, 1, 1, 9, dtype=torch.bool), rotary_turns(torch.arange(9), 8)
    mask[0, ..., 6:] = False
    trained = attention.train()(x, mask, turns)
    assert trained.detach() == pytest.approx(attention.eval()(x, mask, turns).detach(), abs=1e-6)


def test_attention_drops_weights_in_training() -> None:
    torch.manual_seed(0)
    attention, x = Attention(32, 4, dropout=0.5, qk_norm=False).train(), torch.randn(2, 9, 32)
    draws = torch.stack([attention(x, None, None) for _ in range(4000)]).detach()
    assert draws.std(dim=0).min() > 1e-3
    assert draws.mean(dim=0) == pytest.approx(attention.eval()(x, None, None).detach(), abs=0.03)
