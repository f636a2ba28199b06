"""Equations of the thesis, which must be where the table of `motion` says, and be told apart from its sections."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import motion

REPO = Path(__file__).resolve().parent.parent
ROW = re.compile(
    r"^ +eq\. (?P<number>\d\.\d+) +"
    r"(?:derivation only: (?P<why>\S.*)|(?P<code>[\w.]+) +(?P<file>tests/\S+)\n +(?P<test>test_\w+))$",
    flags=re.MULTILINE,
)
ROWS = [row.groupdict() for row in ROW.finditer(motion.__doc__ or "")]
IMPLEMENTED = [row for row in ROWS if row["code"]]


def resolve(name: str) -> Any:
    """Import the object that a dotted name means."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_numbered_equation_is_in_the_table_once() -> None:
    expected = [f"2.{n}" for n in range(1, 23)] + [f"4.{n}" for n in range(1, 8)]
    assert [row["number"] for row in ROWS] == expected


@pytest.mark.parametrize("row", IMPLEMENTED, ids=lambda row: row["number"])
def test_what_the_table_names_exists(row: dict[str, str]) -> None:
    assert callable(resolve(row["code"]))
    file = REPO / row["file"]
    tests = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
    assert row["test"] in tests
    assert row["code"].split(".")[-1] in file.read_text(), "the test's file names what it tests"


@pytest.mark.parametrize("row", IMPLEMENTED, ids=lambda row: row["number"])
def test_what_the_table_names_says_its_equation(row: dict[str, str]) -> None:
    """A reader who hovers over the function sees which equation it is."""
    docstring = resolve(row["code"]).__doc__ or ""
    assert re.search(rf"\b[Ee]q\. {re.escape(row['number'])}\b(?!\d)", docstring)


def test_equations_and_sections_are_told_apart() -> None:
    """An equation is "eq. 4.1" and a section "thesis §4.1"; a bare "thesis 4.1" could be either."""
    vague = re.compile(r"thesis[,\']* \(?[2-4]\.\d|chapters? [2-4]\b|thesis eq\.", flags=re.IGNORECASE)
    found = [
        f"{path.relative_to(REPO)}: {hit[0]}"
        for room in ("motion", "recon", "ray_jobs")
        for path in (REPO / room).rglob("*.py")
        for hit in vague.finditer(path.read_text())
    ]
    assert found == []
