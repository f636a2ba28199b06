"""JSON files from outside, checked key by key: an InputError names the file, the key and what was found there."""

import json
import reprlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from motion.errors import InputError
from motion.parquet import whole_file

LARGEST_PX = 1e6  # a larger number is damage


def require(condition: bool, sentence: str) -> None:
    """Raise InputError with this sentence unless the condition holds."""
    if not condition:
        raise InputError(sentence)


def short(value: object) -> str:
    """Abbreviate a value for an error message."""
    return reprlib.repr(value)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises InputError when it cannot be read or parsed."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file of the Teton tree") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}), expected a file of the Teton tree") from error


def write_json(path: Path, content: object) -> None:
    """Write a JSON file that appears only when complete; raises InputError when the folder cannot be written."""
    try:
        with whole_file(path) as (_, partial):
            Path(partial).write_text(json.dumps(content))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}), expected a folder to write to") from error


def get(owner: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """Look up a value that must be present and of this type; raises InputError otherwise."""
    expected = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}[kind]
    require(key in owner, f"{where}: has no {key}, expected {expected}")
    require(isinstance(owner[key], kind), f"{where}: {key} is {short(owner[key])}, expected {expected}")
    return owner[key]


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers(
    owner: dict[str, Any], key: str, shape: tuple[int, ...], what: str, where: str
) -> Float64[np.ndarray, "..."]:
    """Read a list of finite numbers of this shape, which `what` describes in the InputError otherwise raised."""
    value = get(owner, key, list, where)
    try:
        array = np.array(value)
    except ValueError:  # lists of several lengths
        array = np.array(None)
    require(array.dtype.kind in "iuf" and array.shape == shape, f"{where}: {key} is {short(value)}, expected {what}")
    array = array.astype(np.float64)
    damaged = array[~(np.abs(array) < LARGEST_PX)]
    require(not damaged.size, f"{where}: {key} holds {damaged[:1]}, expected numbers below {LARGEST_PX:g}")
    return array
