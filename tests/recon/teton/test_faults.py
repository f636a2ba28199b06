"""Faults are collected, those that differ in numbers alone are one kind, and the error says how to see the rest."""

from pathlib import Path

import pytest

from motion.errors import InputError
from recon.teton.checked_json import require
from recon.teton.faults import MOST_IN_A_SENTENCE, Faults

FOLDER = Path("ward/camera")


def test_an_attempt_gives_its_value_or_notes_its_error() -> None:
    faults = Faults(FOLDER)
    assert faults.attempt(int, "7") == 7
    assert not faults
    assert faults.attempt(require, False, "ward/camera/a: is 3, expected 4") is None
    assert faults
    assert faults.kinds() == ["a: is 3, expected 4"]


def test_a_name_cannot_write_to_the_terminal() -> None:
    faults = Faults(FOLDER)
    faults.note("ward/camera/a: object \x1b[2J\n7 é")
    assert faults.kinds() == [r"a: object \x1b[2J\n7 é"]


def test_other_errors_are_not_noted() -> None:
    with pytest.raises(ZeroDivisionError):
        Faults(FOLDER).attempt(lambda: 1 / 0)


def test_sentences_that_differ_in_numbers_are_one_kind() -> None:
    faults = Faults(FOLDER)
    for number in (4, -5.25, 60):
        faults.note(f"ward/camera/a: frame {number} has no box")
    faults.note("ward/camera/a: frame 4 has no center")
    assert faults.kinds() == ["a: frame 4 has no box (and 2 more like it)", "a: frame 4 has no center"]


@pytest.mark.parametrize("count", [1, MOST_IN_A_SENTENCE, MOST_IN_A_SENTENCE + 3])
def test_the_error_holds_the_first_kinds_and_counts_the_others(count: int) -> None:
    faults = Faults(FOLDER)
    names = "abcdefgh"[:count]
    for name in names:
        faults.note(f"ward/camera/{name}: is missing")
    error = faults.error()
    assert isinstance(error, InputError)
    said, _, more = str(error).partition("; and ")
    assert said.removeprefix("ward/camera/") == "; ".join(f"{name}: is missing" for name in names[:MOST_IN_A_SENTENCE])
    assert more == ("3 more: see python -m recon.teton check ward/camera" if count > MOST_IN_A_SENTENCE else "")
