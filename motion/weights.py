"""Networks in one safetensors file each: weights, a format name and a JSON description, refused when not as described.

The version of a file is the start of its sha256, so that results can name the very weights they came from.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

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
