"""Restricted unpickler, which reads arrays of every pedigree and runs nothing."""

import contextlib
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motion.errors import InputError
from motion.unpickle import _ArrayUnpickler, load_arrays


def dump(path: Path, content: Any, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_gives_back_arrays_scalars_and_containers(tmp_path: Path, protocol: int) -> None:
    content = {
        "float": np.arange(6, dtype=np.float64).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "strided": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0)[::2],
        "big_endian": np.arange(3, dtype=">i4"),
        "bool": np.array([True, False]),
        "text": np.array(["male", "female"]),
        "empty": np.zeros((0, 3)),
        "scalar": np.float64(1.5),
        "nested": {"list": [np.ones(2), (1, "a", None, b"\xff\x00")]},
    }
    loaded = load_arrays(dump(tmp_path / "a.pkl", content, protocol))
    assert loaded.keys() == content.keys()
    for key in ("float", "fortran", "strided", "big_endian", "bool", "text", "empty", "scalar"):
        np.testing.assert_array_equal(loaded[key], content[key])
        assert np.asarray(loaded[key]).dtype == np.asarray(content[key]).dtype
    np.testing.assert_array_equal(loaded["nested"]["list"][0], np.ones(2))
    assert loaded["nested"]["list"][1] == (1, "a", None, b"\xff\x00")


@given(
    array=hnp.arrays(
        dtype=st.one_of(hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes()),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0),
    ),
    protocol=st.integers(0, 5),
)
def test_any_plain_array_survives(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, protocol: int) -> None:
    path = dump(tmp_path_factory.mktemp("p") / "a.pkl", {"x": array}, protocol)
    loaded = load_arrays(path)["x"]
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype


@pytest.mark.parametrize("layout", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_becomes_dense(tmp_path: Path, layout: str, kind: str) -> None:
    dense = np.array([[0, 1.5, 0], [2, 0, 0]])
    sparse = getattr(scipy.sparse, f"{layout}_{kind}")(dense)
    np.testing.assert_array_equal(load_arrays(dump(tmp_path / "s.pkl", {"J": sparse}))["J"], dense)


def test_sparse_indices_outside_the_matrix_are_refused(tmp_path: Path) -> None:
    sparse = scipy.sparse.csc_matrix(np.eye(3))
    sparse.indices[1] = 10**6
    with pytest.raises(InputError, match=r"s\.pkl"):
        load_arrays(dump(tmp_path / "s.pkl", {"J": sparse}))


def test_python_2_pickle(tmp_path: Path) -> None:
    """The file is as Python 2 wrote it: __builtin__, raw bytes as str, copy_reg."""
    dtype = b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    array = empty + b"(K\x01K\x02\x85" + dtype + b"\x89U\x10" + struct.pack("<2d", 1.0, -2.5) + b"tb"
    letters = b"c__builtin__\nset\n]U\x01aa\x85R"
    stream = b"\x80\x02}U\x01x" + array + b"sU\x04kind" + letters + b"s."
    (tmp_path / "two.pkl").write_bytes(stream)
    loaded = load_arrays(tmp_path / "two.pkl")
    np.testing.assert_array_equal(loaded["x"], [1.0, -2.5])
    assert loaded["kind"] == {"a"}


@pytest.fixture
def chumpy(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Install modules that look like chumpy while a pickle is written; they are gone when it is read."""
    classes = {}
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    for module_name, class_name in (
        ("chumpy.ch", "Ch"),
        ("chumpy.reordering", "Select"),
        ("chumpy.ch", "add"),
    ):
        module = sys.modules.get(module_name) or types.ModuleType(module_name)
        monkeypatch.setitem(sys.modules, module_name, module)
        classes[class_name] = type(class_name, (), {"__module__": module_name})
        setattr(module, class_name, classes[class_name])
    return types.SimpleNamespace(**classes)


def make(cls: type, **state: Any) -> Any:
    instance = cls()
    instance.__dict__.update(state)
    return instance


@pytest.mark.parametrize("protocol", [0, 2])  # 0 goes through copyreg._reconstructor, 2 through NEWOBJ
def test_chumpy_arrays_without_chumpy(
    tmp_path: Path, chumpy: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    values = np.arange(12.0).reshape(3, 4)
    whole = make(chumpy.Ch, x=values, _dirty_vars={"x"}, _itr=None)
    some = make(chumpy.Select, a=whole, idxs=np.array([1, 5, 9, 2]), preferred_shape=(2, 2))
    path = dump(tmp_path / "c.pkl", {"v_template": whole, "shapedirs": some}, protocol)
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    monkeypatch.delitem(sys.modules, "chumpy.reordering")
    loaded = load_arrays(path)
    np.testing.assert_array_equal(loaded["v_template"], values)
    np.testing.assert_array_equal(loaded["shapedirs"], [[1, 5], [9, 2]])
    assert "chumpy.ch" not in sys.modules


def test_other_chumpy_classes_are_refused_by_name(tmp_path: Path, chumpy: types.SimpleNamespace) -> None:
    path = dump(tmp_path / "c.pkl", {"v": make(chumpy.add, a=1, b=2)})
    with pytest.raises(InputError, match=r"c\.pkl .*chumpy\.ch\.add"):
        load_arrays(path)


class Hostile:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "executed"
    path = dump(tmp_path / "evil.pkl", {"v_template": Hostile(os.system, f"touch {mark}")}, protocol)
    with pytest.raises(InputError, match=r"evil\.pkl .*(posix|nt)\.system"):
        load_arrays(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "function", [eval, exec, getattr, __import__, np.load, np.fromfile, pickle.loads, scipy.sparse.load_npz]
)
def test_no_function_beyond_array_making_is_admitted(tmp_path: Path, function: Any) -> None:
    path = dump(tmp_path / "evil.pkl", [Hostile(function, "x")])
    with pytest.raises(InputError, match=function.__name__):
        load_arrays(path)


def test_other_text_codecs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"c_codecs\nencode\n(V00\nVhex\ntR.")
    with pytest.raises(InputError, match="hex"):
        load_arrays(tmp_path / "evil.pkl")


@pytest.mark.parametrize("dtype", [np.dtype(object), np.dtype([("a", "f8"), ("b", "i4")])])
def test_objects_and_records_are_refused(tmp_path: Path, dtype: np.dtype) -> None:
    with pytest.raises(InputError, match=r"o\.pkl"):
        load_arrays(dump(tmp_path / "o.pkl", {"x": np.zeros(2, dtype=dtype)}))


def test_no_numpy_object_is_within_reach_of_a_build(tmp_path: Path) -> None:
    """BUILD calls __setstate__ on whatever lies on the stack: that must never be a real array or dtype."""
    with dump(tmp_path / "a.pkl", np.ones(3), protocol=5).open("rb") as file:
        assert not isinstance(_ArrayUnpickler(file).load(), np.ndarray)


def test_truncated_anywhere_is_an_input_error(tmp_path: Path) -> None:
    whole = dump(tmp_path / "a.pkl", {"x": np.arange(3.0), "J": scipy.sparse.csc_matrix(np.eye(2))})
    content = whole.read_bytes()
    for length in range(len(content)):
        whole.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"a\.pkl"):
            load_arrays(whole)


@given(junk=st.binary(max_size=60))
def test_junk_is_an_input_error(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.mktemp("j") / "junk.pkl"
    path.write_bytes(junk)
    with contextlib.suppress(InputError):
        assert isinstance(load_arrays(path), dict)


def test_endless_and_wrong_content(tmp_path: Path) -> None:
    endless: list = []
    endless.append(endless)
    with pytest.raises(InputError, match="RecursionError"):
        load_arrays(dump(tmp_path / "endless.pkl", endless))
    with pytest.raises(InputError, match=r"holds a list where a dict"):
        load_arrays(dump(tmp_path / "list.pkl", [1, 2]))
    with pytest.raises(InputError, match="does not exist"):
        load_arrays(tmp_path / "missing.pkl")
