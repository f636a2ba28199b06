"""Tensors move to a device wherever they lie in a record; the rest stays."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from motion.body import load_body
from recon.fitting.devices import on_device
from recon.pose_prior import load_prior


@dataclass(frozen=True)
class Inner:
    values: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...]
    state: dict[str, Tensor]
    count: int


def test_tensors_move_at_any_depth() -> None:
    inner = Inner(torch.arange(3), ("a", "b"))
    moved, (function,) = on_device((Outer(inner, (inner, inner), {"w": torch.ones(2, 2)}, 7), (len,)), "meta")
    tensors = [moved.inner.values, *(each.values for each in moved.many), moved.state["w"]]
    assert [(each.device.type, tuple(each.shape)) for each in tensors] == [("meta", (3,))] * 3 + [("meta", (2, 2))]
    assert (moved.inner.names, moved.count, function) == (("a", "b"), 7, len)
    assert inner.values.device.type == "cpu"


def test_a_body_and_a_prior_move() -> None:
    body, prior = on_device((load_body(), load_prior()), "meta")
    found = [value.device.type for each in (body, prior) for value in vars(each).values() if isinstance(value, Tensor)]
    assert found == ["meta"] * 11
    assert isinstance(body.faces, np.ndarray)
