"""Weights of networks: ours in one safetensors file each, with a format name and a JSON description, and others'.

Whatever is not as described is refused. The version of a file is the start of its sha256, so that results can name the
very weights they came from.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from motion.errors import InputError


@dataclass(frozen=True)
class Weights:
    """What a file holds."""

    path: Path
    tensors: dict[str, Tensor]
    description: dict[str, Any]
    version: str

    def check(self, expected: Mapping[str, Tensor]) -> None:
        """Raise InputError unless the file holds tensors of just these names and shapes."""
        wanted = {name: tuple(value.shape) for name, value in expected.items()}
        found = {name: tuple(value.shape) for name, value in self.tensors.items()}
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) != found.get(name):
                raise InputError(
                    f"{self.path} holds another architecture: {name} has shape {found.get(name)}, "
                    f"its description says {wanted.get(name)}"
                )


def version_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def weights_bytes(tensors: Mapping[str, Tensor], kind: str, description: Mapping[str, Any]) -> bytes:
    """The content of a file of this `kind`, such as "carescene-model/1"."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    return save(whole, metadata={"format": kind, "description": json.dumps(description)})


def read_weights(path: Path, kind: str, made_by: str) -> Weights:
    """Read such a file; a damaged or a foreign one is refused in one sentence, which names the job that makes them."""
    if not path.is_file():
        raise InputError(f"no file of format {kind} at {path}; train one with `python -m {made_by}`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from error
    if metadata.get("format") != kind:
        raise InputError(f"{path} says format {metadata.get('format')!r}, expected {kind!r}")
    return Weights(path, tensors, json.loads(metadata["description"]), version_of(path))


def read_checkpoint(path: Path, parts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """These state_dicts in an official file, which is read as tensors only: it may run no code."""
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a file of the authors' release")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile stream can raise anything
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if not refused:
            raise InputError(f"{path} is damaged or no PyTorch file ({type(error).__name__})") from error
        raise InputError(
            f"{path} holds a {refused[1]}, which could run code when it is read, expected tensors alone: "
            f"have a dict of nothing but {', '.join(parts)} saved where the authors' own code runs"
        ) from error
    for part in parts:
        state = content.get(part) if isinstance(content, Mapping) else None
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise InputError(f"{path} holds no weights {part!r}, expected the file of the authors' release")
    return {part: dict(content[part]) for part in parts}


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Put the weights into a network made on the meta device; InputError names each that is not as it should be."""
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    missing = [f"lacks {key}" for key in wanted if key not in found]
    surplus = [f"holds {key} too" for key in found if key not in wanted]
    other = [
        f"has {key} of shape {found[key]}, not {wanted[key]}"
        for key in wanted
        if wanted[key] != found.get(key, wanted[key])
    ]
    if missing or surplus or other:
        problems = ", ".join(missing + surplus + other)
        raise InputError(
            f"{path} {problems}; expected the weights of {type(network).__name__} as the authors published it"
        )
    network.load_state_dict({key: value.float() for key, value in state.items()}, assign=True)
    network.requires_grad_(False)
