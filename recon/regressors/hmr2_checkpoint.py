"""Reads the authors' release of HMR2.0 (4D-Humans), which is a Lightning checkpoint, without trusting it.

    logs/train/multiruns/hmr2/0/model_config.yaml
    logs/train/multiruns/hmr2/0/checkpoints/epoch=35-step=1000000.ckpt

Such a file is a zip of one pickle and the bytes of each tensor. The pickle also holds the training's configuration as
objects of other libraries. Here it may make plain containers and say which bytes are which tensor; everything else it
asks for becomes an inert placeholder: no module is imported, nothing foreign is called. The network's weights are then
written once, as safetensors, beside the file.

`torch.load(weights_only=True)` with placeholders among its safe globals would take a third of the lines, but with
PyTorch 2.14 it does not notice flipped bits (it checks no sums), with `mmap` it reads beyond a shortened entry, and it
refuses the whole file where the configuration holds a list of a foreign class or an object whose state is a tuple.
"""

import math
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from motion.errors import InputError
from motion.weights import Weights, read_weights, save_weights, sha256_of
from recon.teton.checked_json import short

FORMAT = "carescene-hmr2/1"
RELEASE = "expected the authors' release (hmr2_data.tar.gz of 4D-Humans, which README there says how to get)"
UNUSED = ("discriminator.", "smpl.", "initialized")  # training's, and arrays of SMPL's own file
MOST_PICKLE_BYTES = 64 << 20  # the release's pickle has well under one MB
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def fill_official(
    network: nn.Module,
    path: Path,
    description: Mapping[str, object],
    decoder: Mapping[str, int],
    sha256: str | None = None,
) -> None:
    """Fill a network made on the meta device from the authors' `.ckpt`, or from the file that was made of it before.

    `description` is kept in the safetensors file; `decoder` maps the settings of the head in their
    configuration (SMPL_HEAD.TRANSFORMER_DECODER) to the values they must have. Raises InputError for
    a missing or damaged checkpoint, another checksum, and another configuration.
    """
    converted = path.with_suffix(".safetensors")
    if converted.is_file() and (not path.is_file() or converted.stat().st_mtime >= path.stat().st_mtime):
        weights = read_weights(converted, FORMAT, "recon.regressors.hmr2")
        _check_sum(path, weights.description.get("sha256", "none"), sha256)
        weights.load_into(network)
        return
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}, {RELEASE}")
    found = sha256_of(path)
    _check_sum(path, found, sha256)
    check_config(_config_path(path), decoder)
    Weights(path, read_state(path)).load_into(network)
    try:
        save_weights(converted, network.state_dict(), FORMAT, {**description, "sha256": found})
    except OSError as error:
        raise InputError(f"{converted} cannot be written ({error}), expected a folder to convert {path} in") from error


def _check_sum(path: Path, found: str, sha256: str | None) -> None:
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"{path} has the sha256 {found}, expected {sha256}: download it again")


def _config_path(path: Path) -> Path:
    """Find model_config.yaml beside the checkpoint, or beside its folder, as in the release."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "model_config.yaml").is_file():
            return folder / "model_config.yaml"
    raise InputError(f"no model_config.yaml beside {path} or its folder, {RELEASE}")


def check_config(path: Path, decoder: Mapping[str, int]) -> None:
    """Raise InputError unless a `model_config.yaml` describes the network that we build.

    `decoder` maps the settings under SMPL_HEAD.TRANSFORMER_DECODER to the values they must have.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no plain YAML ({type(error).__name__}), {RELEASE}") from error
    head = ("MODEL", "SMPL_HEAD")
    wanted: dict[tuple[str, ...], object] = {
        ("MODEL", "IMAGE_SIZE"): 256,
        ("MODEL", "BACKBONE", "TYPE"): "vit",
        (*head, "TYPE"): "transformer_decoder",
        **{(*head, "TRANSFORMER_DECODER", name): size for name, size in decoder.items()},
    }
    unless_said: dict[tuple[str, ...], object] = {
        (*head, "JOINT_REP"): "6d",
        (*head, "TRANSFORMER_INPUT"): "zero",
        (*head, "IEF_ITERS"): 1,
    }
    for keys, value in {**wanted, **unless_said}.items():
        found = _look_up(config, keys, unless_said.get(keys))
        if found != value:
            raise InputError(f"{path} says {'.'.join(keys)} = {short(found)}, expected {value!r}")


def _look_up(config: object, keys: tuple[str, ...], default: object) -> object:
    for key in keys:
        if not isinstance(config, Mapping) or key not in config:
            return default
        config = config[key]
    return config


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the weights of backbone and head by the authors' names; raises InputError for a damaged file."""
    try:
        with zipfile.ZipFile(path) as archive:
            folder = _folder(archive, path)
            state = _unpickle(archive, folder, path)
            records = dict(_used(state, path))
            size = sum(math.prod(record.shape) * record.storage.dtype.itemsize for record in records.values())
            if size > path.stat().st_size:  # many may share the same few bytes
                raise InputError(f"{path} is damaged: {size} bytes of tensors do not fit into it, {RELEASE}")
            return {name: _tensor(archive, folder, record, path, name) for name, record in records.items()}
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or no PyTorch checkpoint ({error}), {RELEASE}") from error


def _used(state: Mapping[object, object], path: Path) -> Iterator[tuple[str, "_Record"]]:
    for name, record in state.items():
        if not isinstance(name, str) or not isinstance(record, _Record):
            raise InputError(f"{path} holds something else than a tensor as {name!r} of its state_dict, {RELEASE}")
        if not name.startswith(UNUSED):
            yield name, record


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class _Record:
    """Place of a tensor's numbers in the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """Placeholder for any object that the pickle would make; whatever is done with it has no effect."""

    def __new__(cls, *_args: object, **_kwargs: object) -> "_Inert":
        return object.__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...
    def __setstate__(self, _state: object) -> None: ...
    def __setitem__(self, _key: object, _value: object) -> None: ...
    def append(self, _item: object) -> None: ...
    def extend(self, _items: object) -> None: ...
    def add(self, _item: object) -> None: ...


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_rest: object) -> object:
    """Stand in for torch._utils._rebuild_tensor_v2: note where the tensor lies."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        return _Inert()
    if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
        raise pickle.UnpicklingError("a tensor has no whole numbers as its shape")
    return _Record(storage, offset, shape, strides)  # type: ignore[arg-type]


def _rebuild_parameter(data: object, *_rest: object) -> object:
    return data


ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _CheckpointUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        return ADMITTED.get((module, name), _Inert)

    def persistent_load(self, pid: object) -> object:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), _, int(count)):
                return _Storage(key, dtype, count)
        return _Inert()


def _folder(archive: zipfile.ZipFile, path: Path) -> str:
    """Find the archive's folder that holds the whole checkpoint, named after the file when it was written."""
    names = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(names) != 1 or archive.getinfo(names[0]).file_size > MOST_PICKLE_BYTES:
        raise InputError(f"{path} is a zip file but no PyTorch checkpoint, {RELEASE}")
    return names[0].removesuffix("/data.pkl")


def _unpickle(archive: zipfile.ZipFile, folder: str, path: Path) -> Mapping[object, object]:
    """Read the state_dict."""
    order = f"{folder}/byteorder"
    if order in archive.namelist():
        with archive.open(order) as file:
            if file.read(len(b"little")) != b"little":
                raise InputError(f"{path} holds numbers of another byte order, expected little-endian ones")
    try:
        with archive.open(f"{folder}/data.pkl") as file:
            content = _CheckpointUnpickler(file, encoding="utf-8").load()
    except Exception as error:  # a damaged or hostile stream can raise anything
        raise InputError(f"{path} is damaged: its pickle cannot be read ({error}), {RELEASE}") from error
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        raise InputError(f"{path} holds no state_dict, {RELEASE}")
    return state


def _tensor(archive: zipfile.ZipFile, folder: str, record: _Record, path: Path, name: str) -> Tensor:
    """Read a tensor after checking that all of it lies within its bytes."""
    storage, shape, strides = record.storage, record.shape, record.strides
    entry = f"{folder}/data/{storage.key}"
    if entry not in archive.namelist():
        raise InputError(f"{path} is damaged: the bytes of {name} are missing, {RELEASE}")
    stored = archive.getinfo(entry)
    fits = (
        stored.compress_type == zipfile.ZIP_STORED
        and stored.file_size == storage.count * storage.dtype.itemsize
        and len(shape) == len(strides)
        and 0 < math.prod(shape) <= storage.count
        and record.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) < storage.count
    )
    if not fits:
        raise InputError(f"{path} is damaged: {name} does not fit into its bytes, {RELEASE}")
    numbers = torch.frombuffer(bytearray(archive.read(stored)), dtype=storage.dtype)
    return numbers.as_strided(shape, strides, record.offset).contiguous()
