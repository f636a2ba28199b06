"""Records of tensors on an accelerator."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import Tensor

Value = TypeVar("Value")


def on_device(value: Value, device: str) -> Value:
    """Copy tensors, and those in tuples, mappings and dataclasses of any depth, to a torch device; the rest stays."""
    return _moved(value, device)


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_moved(each, device) for each in value)
    if isinstance(value, Mapping):
        return {key: _moved(each, device) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _moved(getattr(value, field.name), device) for field in fields(value)})
    return value
