"""Weights of networks in files: our model files, of which there are seven kinds, and checkpoints that others released.

A model file is a safetensors file whose metadata are the name of its format, such as "carescene-model/3", and a JSON
description of the network. Whatever is not as described is refused in one sentence. The version of a file is the start
of its sha256, so that results can name the very weights they came from.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from motion.errors import InputError
from motion.features import Normalizer
from motion.parquet import local_file, whole_file

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Weights:
    """Tensors read from a file, and how the file describes them."""

    path: str | Path
    """File or URI that they were read from."""
    tensors: dict[str, Tensor]
    """Tensors by name."""
    description: dict[str, Any] = field(default_factory=dict)
    """Sizes and settings of the network; empty for a file that others released."""

    @cached_property
    def version(self) -> str:
        """First 12 digits of the file's sha256."""
        with local_file(self.path) as file:
            return sha256_of(file)[:12]

    def check(self, expected: Mapping[str, Tensor]) -> None:
        """Raise InputError unless the tensors have just these names and shapes; it names each that differs."""
        wanted, found = (
            {name: tuple(value.shape) for name, value in each.items()} for each in (expected, self.tensors)
        )
        missing = [f"lacks {name}" for name in wanted if name not in found]
        surplus = [f"holds {name} too" for name in found if name not in wanted]
        common = [name for name in wanted if name in found and wanted[name] != found[name]]
        other = [f"has {name} of shape {found[name]}, not {wanted[name]}" for name in common]
        if problems := ", ".join(missing + surplus + other):
            source = "its description says" if self.description else "the authors published"
            raise InputError(f"{self.path} holds another architecture: it {problems}; expected what {source}")

    def load_into(self, network: Network) -> Network:
        """Give a network, which may be made on the meta device, these tensors in its own number types; return it.

        Raises InputError where `check` against the network's tensors does.
        """
        own = network.state_dict()
        self.check(own)
        # Copies lie in memory of PyTorch's own alignment, on which the last bit of a product can depend.
        copies = {name: value.to(own[name].dtype, copy=True) for name, value in self.tensors.items()}
        network.load_state_dict(copies, assign=True)
        return network

    def load_normalized(self, network: nn.Module, num_features: int) -> Normalizer:
        """Load what `normalized_tensors` named into `network`; return the normalizer of its features."""
        empty = Normalizer(torch.zeros(num_features), torch.ones(num_features))
        self.check(normalized_tensors(network, empty))
        own = {name: self.tensors[f"network.{name}"] for name in network.state_dict()}
        replace(self, tensors=own).load_into(network)
        return Normalizer(*(self.tensors[f"normalizer.{name}"] for name in vars(empty)))


def normalized_tensors(network: nn.Module, normalizer: Normalizer) -> dict[str, Tensor]:
    """Name the tensors of a network, in fp32, and of the normalizer of its features for one file."""
    tensors = {f"network.{name}": value.float() for name, value in network.state_dict().items()}
    return tensors | {f"normalizer.{name}": value for name, value in vars(normalizer).items()}


def sha256_of(path: Path) -> str:
    """Compute the hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_bytes(tensors: Mapping[str, Tensor], kind: str, description: Mapping[str, object]) -> bytes:
    """Serialize a model file of format `kind`."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    return save(whole, metadata={"format": kind, "description": json.dumps(description)})


def save_weights(path: Path, tensors: Mapping[str, Tensor], kind: str, description: Mapping[str, object]) -> None:
    """Write a model file of format `kind`, which appears under its name only when complete."""
    content = weights_bytes(tensors, kind, description)
    with whole_file(path) as (_, partial):
        Path(partial).write_bytes(content)


def read_weights(path: str | Path, kind: str, made_by: str) -> Weights:
    """Read a model file of format `kind`; raise InputError if it is missing, damaged or of another format.

    `made_by` is the module whose command makes such files, which the error names.
    """
    try:
        with local_file(path) as local, safe_open(local, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except FileNotFoundError as error:
        raise InputError(f"no file of format {kind} at {path}; train one with `python -m {made_by}`") from error
    except SafetensorError as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from error
    if metadata.get("format") != kind:
        raise InputError(f"{path} says format {metadata.get('format')!r}, expected {kind!r}")
    if odd := [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise InputError(f"{path} holds NaN or infinity in {odd[0]}, expected finite weights: its training failed")
    try:
        description = dict(json.loads(metadata["description"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} has no description of its network, expected a JSON object: it is damaged") from error
    return Weights(path, tensors, description)


def read_checkpoint(path: Path, parts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Read these state_dicts from an official file, as tensors only, so that it may run no code.

    Raises InputError if the file is missing, damaged, holds anything but tensors, or lacks one of `parts`.
    """
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
