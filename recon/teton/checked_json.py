"""JSON files from outside, checked key by key: an InputError names the file, the key and what was found there."""

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np
from jaxtyping import Float64

from motion.errors import InputError
from motion.errors.text_files import each_once
from motion.parquet import whole_file

Kind = TypeVar("Kind")
LARGEST_PX = 1e6  # a larger number is damage


def require(condition: bool, sentence: str) -> None:
    """Raise InputError with this sentence unless the condition holds."""
    if not condition:
        raise InputError(sentence)


def short(value: object) -> str:
    """Abbreviate a value for an error message."""
    return reprlib.repr(value)


def read_json(path: Path, expected: str = "a file of the Teton tree") -> object:
    """Read a JSON file; raises InputError when it cannot be read or parsed, or holds a key twice."""
    require(path.is_file() or not path.exists(), f"{path}: is no file, expected {expected}")  # a pipe would wait
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=each_once)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {expected}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not JSON ({error}), expected {expected}") from error


def write_json(path: Path, content: object) -> None:
    """Write a JSON file that appears only when complete; raises InputError when the folder cannot be written."""
    try:
        with whole_file(path) as (_, partial):
            Path(partial).write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}), expected a folder to write to") from error


def get(owner: Mapping[str, object], key: str, kind: type[Kind], where: str) -> Kind:
    """Look up a value that must be present and of this type; raises InputError otherwise."""
    expected = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}[kind]
    require(key in owner, f"{where}: has no {key}, expected {expected}")
    return expect(owner[key], kind, f"{where}: {key}", expected)


def expect(value: object, kind: type[Kind], what: str, expected: str) -> Kind:
    """Return a value that must be of this type; raises InputError that says what it is and what was expected."""
    if not isinstance(value, kind):
        raise InputError(f"{what} is {short(value)}, expected {expected}")
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a JSON value is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def numbers(
    owner: Mapping[str, object], key: str, shape: tuple[int, ...], what: str, where: str
) -> Float64[np.ndarray, "..."]:
    """Read a list of finite numbers of this shape, which `what` describes in the InputError otherwise raised."""
    require(key in owner, f"{where}: has no {key}, expected {what}")
    value = expect(owner[key], list, f"{where}: {key}", what)
    try:
        array = np.array(value)
    except ValueError:  # lists of several lengths
        array = np.array(None)
    require(array.dtype.kind in "iuf" and array.shape == shape, f"{where}: {key} is {short(value)}, expected {what}")
    array = array.astype(np.float64)
    damaged = array[~(np.abs(array) < LARGEST_PX)]
    require(not damaged.size, f"{where}: {key} holds {damaged[:1]}, expected numbers below {LARGEST_PX:g}")
    return array
