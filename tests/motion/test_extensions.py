"""Names on the command line become objects, or one sentence that says what was expected."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from motion.body import load_body
from motion.errors import InputError
from motion.extensions import check_extension, is_extension, load_extension, module_file, object_name
from motion.sequence import read_motions, write_parquet
from tests.helpers.clips import random_clip

MODULE = """
TERMS = "free"
def two(one, other, more=0): return one, other
def three(a, b, c): return a
class Reader:
    LICENCE = "free"
    def read(self, clip, body): return clip
class Careless(Reader):
    def read(self, clip): return clip
reader, careless = Reader(), Careless()
"""


class Door(Protocol):
    LICENCE: str

    def read(self, clip: str, body: int) -> str: ...


class Call(Protocol):
    def __call__(self, motion: str, stem: str) -> None: ...


class Described(Protocol):
    measure: str

    def __call__(self, motion: str) -> float: ...


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "some_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "own.py").write_text(MODULE)
    (folder / "needy.py").write_text("import nowhere_to_be_found")
    (folder / "ends.py").write_text("import sys; sys.exit(0)")
    (folder / "raises.py").write_text("raise ValueError('boom')")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("some_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["a:b", "package.module:object", "_a.b2:_c"])
def test_names_of_objects_are_told_from_paths_and_hub_ids(name: str) -> None:
    assert is_extension(name)


@pytest.mark.parametrize(
    "name",
    ["tiny", "a/b", "depth-anything/V2:x", "a.b", "a:", ":b", "a:b.c", "a:b:c", "a..b:c", "3a:b", "a:b ", "s3://a"],
)
def test_paths_and_hub_ids_are_no_names_of_objects(name: str) -> None:
    assert not is_extension(name)
    with pytest.raises(InputError, match="names no extension, expected package.module:object"):
        load_extension(name, Call)


def test_an_object_that_has_what_its_door_demands_is_returned(package: Path) -> None:
    assert load_extension("some_package.own:two", Call)(1, 2) == (1, 2)
    assert load_extension("some_package.own:reader", Door).LICENCE == "free"
    assert object_name("some_package.own:two") == "two"
    assert module_file("some_package.own:two") == package / "own.py"


@pytest.mark.parametrize(
    ("name", "door", "sentence"),
    [
        ("some_package.ends:x", Call, r"cannot be imported \(SystemExit: 0\)"),
        ("some_package.raises:x", Call, r"cannot be imported \(ValueError: boom\)"),
        (
            "some_package.absent:x",
            Call,
            r"the module some_package.absent cannot be imported \(ModuleNotFoundError: No module named",
        ),
        (
            "some_package.needy:x",
            Call,
            r"cannot be imported \(ModuleNotFoundError: No module named 'nowhere_to_be_found'\), expected one of",
        ),
        ("some_package.own:x", Call, r"the module some_package.own has no x, expected a function of \(motion, stem\)"),
        ("some_package.own:three", Call, r"function and cannot be called so, expected a function of \(motion, stem\)"),
        ("some_package.own:TERMS", Call, r"is of type str and cannot be called so, expected a function of"),
        ("some_package.own:two", Described, r"lacks measure, expected a function of \(motion\) with measure"),
        ("some_package.own:two", Door, r"lacks LICENCE, expected an object with LICENCE, read\(clip, body\)"),
        (
            "some_package.own:careless",
            Door,
            r"is of type Careless and lacks read\(clip, body\), expected an object with",
        ),
        ("some_package.own:Reader", Door, r"is of type type and lacks read\(clip, body\)"),
    ],
)
def test_what_lacks_something_is_refused_in_one_sentence(package: Path, name: str, door: type, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{name}.*{sentence}") as refused:
        load_extension(name, door)
    assert "\n" not in str(refused.value)


def test_a_compiled_function_without_a_signature_is_taken() -> None:
    check_extension("it", min, Call)


def test_a_record_keeps_the_name_of_its_reader_and_nothing_is_imported_for_it(tmp_path: Path) -> None:
    clip = random_clip(load_body())
    with pytest.raises(InputError, match="source is 'youtube', expected one of"):
        type(clip)(**vars(clip) | {"source": "youtube"})
    own = type(clip)(**vars(clip) | {"source": "nowhere.to_be_found:reader"})
    write_parquet([own], tmp_path / "own.parquet")
    (read,) = read_motions(tmp_path / "own.parquet")
    assert read.source == "nowhere.to_be_found:reader"
