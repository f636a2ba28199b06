"""Restricted unpickler: reads arrays out of pickles that may have been downloaded, without trusting them.

The official SMPL `.pkl` (Python 2, chumpy objects, scipy.sparse), InterHuman's motion pickles and the word index of
HumanML3D's evaluator are the only pickles this project reads. A pickle is a program: here it may call nothing but plain
containers and the stand-ins below, which note the bytes, shapes and dtypes of arrays. Even NumPy's own `__setstate__`
is kept away from it, since a crafted dtype could make that read and write outside its memory. Anything else is an
InputError.

`torch.load(weights_only=True)` cannot do this, whatever its safe globals: it reads what `torch.save` wrote, not pickles
of other protocols or with Python 2's strings, and it would build real arrays and dtypes.
"""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.sparse

from motion.errors import InputError

PLAIN_DTYPE = re.compile(r"[?biufcSU]\d*")  # numbers, booleans, fixed-length strings; no objects, no records


def load_arrays(path: str | Path) -> dict[str, object]:
    """Read the pickled dict in `path`: arrays (sparse and chumpy ones made dense), numbers, text, containers.

    Raises InputError where the file is missing, damaged, or holds anything else.
    """
    try:
        with Path(path).open("rb") as file:
            content = _resolve(_ArrayUnpickler(file, encoding="latin1").load())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} is not a pickle of plain arrays: {error}") from error
    except Exception as error:  # a damaged or hostile stream can raise anything
        raise InputError(f"{path} is damaged or no pickle of arrays ({type(error).__name__}: {error}).") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__} where a dict of arrays is expected.")
    return content


class _Dtype:
    """Stand-in for numpy.dtype: remembers kind, size and byte order."""

    def __init__(self, spec: str, *_flags: object) -> None:
        if not PLAIN_DTYPE.fullmatch(spec):
            raise pickle.UnpicklingError(f"it holds an array of dtype {spec!r}, not of numbers or strings.")
        self.dtype = np.dtype(spec)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("it holds an array of records, not of numbers or strings.")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stand-in for numpy.ndarray (and for the result of `_reconstruct`)."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, is_fortran, raw = state
        self.value = _decode(raw, dtype, shape, "F" if is_fortran else "C")


class _Sparse:
    """Stand-in for a scipy.sparse matrix; `to_dense` checks the indices before it uses them."""

    layout = "coo"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def to_dense(self) -> np.ndarray:
        parts = {name.lstrip("_"): _resolve(part) for name, part in self.state.items()}
        if "indptr" in parts:
            kind = {"csc": scipy.sparse.csc_matrix, "csr": scipy.sparse.csr_matrix}[self.layout]
            matrix = kind((parts["data"], parts["indices"], parts["indptr"]), shape=parts["shape"])
            matrix.check_format(full_check=True)
        else:
            coords = parts["coords"] if "coords" in parts else (parts["row"], parts["col"])
            matrix = scipy.sparse.coo_matrix((parts["data"], coords), shape=parts["shape"])
        return matrix.toarray()


class _Csc(_Sparse):
    layout = "csc"


class _Csr(_Sparse):
    layout = "csr"


class _Chumpy:
    """Stand-in for chumpy's Ch (an array in `x`) and Select (entries `idxs` of the array `a`)."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state

    def to_dense(self) -> np.ndarray:
        if "x" in self.state:
            return np.asarray(_resolve(self.state["x"]))
        chosen = np.asarray(_resolve(self.state["a"])).ravel()[_resolve(self.state["idxs"])]
        return chosen.reshape(_resolve(self.state.get("preferred_shape", chosen.shape)))


def _decode(raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray:
    data = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote bytes as str
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order).copy(order="K")


def _from_buffer(
    raw: Any, dtype: _Dtype, shape: tuple[int, ...], order: str, axes: tuple[int, ...] | None = None
) -> _Array:
    """Decode numpy's `_frombuffer`, of protocol 5; order K stores the transpose by `axes`."""
    array = _Array()
    if order == "K" and axes is not None:
        array.value = _decode(raw, dtype, shape, "C").transpose(axes)
    else:
        array.value = _decode(raw, dtype, shape, "F" if order == "F" else "C")
    return array


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    return _decode(raw, dtype, (), "C").item()


def _reconstruct_array(_subtype: type, _shape: tuple[int, ...], _typecode: object) -> _Array:
    return _Array()


def _reconstruct_object(cls: Any, _base: type, _state: object) -> object:
    """Replace copyreg._reconstructor, Python 2's way to make an object to fill, for the classes admitted here."""
    return cls.__new__(cls)


def _encode(text: str, encoding: str) -> bytes:
    """Replace _codecs.encode, with which protocol 2 writes bytes; any other codec could decompress or import."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}, expected 'latin1'.")
    return text.encode(encoding)


def _resolve(value: Any) -> Any:
    """Replace every stand-in of the pickled value by its array."""
    match value:
        case _Array():
            return value.value
        case _Sparse() | _Chumpy():
            return value.to_dense()
        case dict():
            return {key: _resolve(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_resolve(item) for item in value)
    return value


ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("chumpy.reordering", "Select"): _Chumpy,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}
"""Names that a pickle may refer to, and what each becomes."""
for _core in ("numpy.core", "numpy._core"):
    ADMITTED[_core + ".multiarray", "_reconstruct"] = _reconstruct_array
    ADMITTED[_core + ".multiarray", "scalar"] = _scalar
    ADMITTED[_core + ".numeric", "_frombuffer"] = _from_buffer
for _module in ("copyreg", "copy_reg"):
    ADMITTED[_module, "_reconstructor"] = _reconstruct_object
for _module in ("builtins", "__builtin__"):
    for _builtin in (object, dict, list, tuple, set, frozenset, bytearray, bytes, complex, slice):
        ADMITTED[_module, _builtin.__name__] = _builtin
for _layout, _stand_in in (("csc", _Csc), ("csr", _Csr), ("coo", _Sparse)):
    for _kind in ("matrix", "array"):
        for _module in ("scipy.sparse", f"scipy.sparse.{_layout}", f"scipy.sparse._{_layout}"):
            ADMITTED[_module, f"{_layout}_{_kind}"] = _stand_in


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which reading arrays does not need.")
        return ADMITTED[module, name]
