"""JSON files from outside: what is read, and sentences that name file, key and value."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.checked_json import get, is_number, numbers, read_json, write_json


def half_written(path: Path, text: str, encoding: str) -> None:
    path.write_bytes(b"{")
    raise OSError("no space left")


def test_content_comes_back_and_a_failed_write_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, content = tmp_path / "a.json", {"a": [1, 2.5, None, True], "b": {"ü": "x"}}
    write_json(path, content)
    assert read_json(path) == content
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path) == content
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"], "nothing half-written is left"
    monkeypatch.setattr(Path, "write_text", half_written)
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(no space left\), expected a folder"):
        write_json(path, {})
    monkeypatch.undo()
    assert read_json(path) == content
    with pytest.raises(InputError, match=r"absent.a\.json: cannot be written \(.*\), expected a folder"):
        write_json(path / "absent" / "a.json", content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read"),
        (b'{"a": ', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not"),
        (b'{"7": {"0": 1, "0": 2}}', r"is not JSON \(the key '0' comes twice\)"),
    ],
)
def test_files_that_are_no_json_are_named(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.json: {sentence}.*expected a file of the Teton tree"):
        read_json(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"a\.json: is no file, expected a file of the Teton tree"):
        read_json(tmp_path / "a.json")


def test_the_sentence_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: cannot be read \(.*\), expected a list of frames"):
        read_json(tmp_path / "a.json", "a list of frames")


@pytest.mark.parametrize(
    ("key", "kind", "sentence"),
    [
        ("absent", list, "meta: has no absent, expected a list"),
        ("one", str, "meta: one is 1, expected a string"),
        ("one", bool, "meta: one is 1, expected true or false"),
        ("text", dict, "meta: text is 'x', expected an object"),
    ],
)
def test_values_of_another_kind_are_refused(key: str, kind: type, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        get({"one": 1, "text": "x"}, key, kind, "meta")


def test_true_is_no_number() -> None:
    assert [is_number(value) for value in (1, -2.5, True, "1", None)] == [True, True, False, False, False]


@pytest.mark.parametrize(
    "value",
    [[1, 2, 3], [[1, 2], [3]], [[1, 2], ["a", "b"]], [[True, False], [True, True]], [[1, 2], [3, None]], "12"],
)
def test_numbers_have_the_shape_that_is_asked_for(value: Any) -> None:
    with pytest.raises(InputError, match="box: corners is .*, expected (two corners|a list)"):
        numbers({"corners": value}, "corners", (2, 2), "two corners", "box")


def test_numbers_are_finite_and_not_absurd() -> None:
    found = numbers({"corners": [[1, 2], [3.5, -9e5]]}, "corners", (2, 2), "two corners", "box")
    assert found.dtype == np.float64
    assert found.tolist() == [[1, 2], [3.5, -9e5]]
    for damaged in (float("nan"), float("inf"), 1e6, -2e6):
        with pytest.raises(InputError, match=r"box: corners holds \[.*\], expected numbers below 1e\+06"):
            numbers({"corners": [[1, 2], [3, damaged]]}, "corners", (2, 2), "two corners", "box")
