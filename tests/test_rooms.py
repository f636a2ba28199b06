"""The house rules that import-linter and ruff cannot express: the top level, file length, docstrings."""

import ast
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    *("ray_jobs", "motion", "recon", "cluster", "tests"),
    *("pyproject.toml", "README.md", "Makefile", "LICENSE"),
}
MAX_LINES = 420


def repo_files() -> list[Path]:
    """Files that git knows or would add, relative to the repo; skips the test outside a git checkout."""
    if not (REPO / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True).stdout
    return [Path(line) for line in listing.splitlines() if (REPO / line).exists()]


def python_files() -> list[Path]:
    return [path for path in repo_files() if path.suffix == ".py"]


def test_top_level_is_fixed() -> None:
    entries = {path.parts[0] for path in repo_files()}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL


def test_no_file_is_two_ideas() -> None:
    lengths = {str(path): len((REPO / path).read_text().splitlines()) for path in python_files()}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [str(path) for path in python_files() if not ast.get_docstring(ast.parse((REPO / path).read_text()))]
    assert silent == []


@pytest.mark.parametrize("room", ["motion", "recon", "ray_jobs"])
def test_rooms_are_typed_packages(room: str) -> None:
    assert (REPO / room / "__init__.py").is_file()
    assert (REPO / room / "py.typed").is_file()


def test_cluster_holds_no_library_code() -> None:
    assert [str(path) for path in python_files() if path.parts[0] == "cluster"] == []
