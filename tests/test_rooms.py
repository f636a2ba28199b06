"""The house rules that import-linter and ruff cannot express: the top level, file length, docstrings."""

import ast
import io
import re
import statistics
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
TOP_LEVEL = {
    *("ray_jobs", "motion", "recon", "cluster", "tests"),
    *("pyproject.toml", "README.md", "Makefile", "LICENSE"),
}
MAX_LINES = 420
MAX_LINES_WITHOUT_DOCSTRING = 8
MAX_MEDIAN, MAX_90TH_PERCENTILE = 7, 19  # lines of a function, its docstring included
ROOMS = ["motion", "recon", "ray_jobs"]
Function = ast.FunctionDef | ast.AsyncFunctionDef

# A reader hovers over one name and sees one docstring: a sentence, not the end of one that the name begins.
FRAGMENT = re.compile(
    r"(As|At|Beside|But|By|For|From|How|In|Of|On|Than|That|Those|To|What|When|Where|Which|Who|Whom|Whose|With)\b|[a-z]"
)
BANNED_WORDS = re.compile(
    r"\b(whence|thence|whoever|whomever|whosoever|somebody|told|untold|normalis\w+|to the bit"
    r"|held(?! out|-out))\b",
    re.IGNORECASE,
)


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


def trees(*rooms: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in python_files():
        if path.parts[0] in rooms:
            yield path, ast.parse((REPO / path).read_text())


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each string that stands alone: docstrings, and those under fields and constants."""
    for node in ast.walk(tree):
        for each in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if (
                isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Constant)
                and isinstance(each.value.value, str)
            ):
                yield each.lineno, each.value.value


def comments(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO((REPO / path).read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def functions(tree: ast.Module) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def public_functions(body: list[ast.stmt]) -> Iterator[Function]:
    """Functions and methods that can be hovered over from outside: not those within a function."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield node


def lines(node: ast.stmt) -> int:
    """Lines of a statement; of a function from its `def` on, with its docstring."""
    return (node.end_lineno or 0) - node.lineno + 1


def is_fragment(docstring: str) -> bool:
    return FRAGMENT.match(docstring.strip()) is not None


def banned(text: str) -> list[str]:
    """Words that a reader stumbles over; names in backticks are names."""
    return BANNED_WORDS.findall(re.sub(r"`[^`]*`", "", text))


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_docstrings_stand_alone(room: str) -> None:
    found = [f"{path}:{line}" for path, tree in trees(room) for line, text in docstrings(tree) if is_fragment(text)]
    assert found == []


@pytest.mark.parametrize("text", ["Of each sample.", "What is kept.", "which", "Those beside."])
def test_a_fragment_is_found(text: str) -> None:
    assert is_fragment(text)
    assert not is_fragment(f"Number {text}")


@pytest.mark.parametrize("room", ROOMS)
def test_prose_has_the_fields_words(room: str) -> None:
    found = [
        f"{path}:{line}: {word}"
        for path, tree in trees(room)
        for line, text in [*docstrings(tree), *comments(path)]
        for word in banned(text)
    ]
    assert found == []


def test_a_banned_word_is_found() -> None:
    assert banned("Somebody is told; `told` is a name, data is held out.") == ["Somebody", "told"]


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_say_what_they_do(room: str) -> None:
    silent = [
        f"{path}:{function.lineno} {function.name}"
        for path, tree in trees(room)
        for function in public_functions(tree.body)
        if lines(function) > MAX_LINES_WITHOUT_DOCSTRING and not ast.get_docstring(function)
    ]
    assert silent == []


@pytest.mark.parametrize("room", ROOMS)
def test_functions_stay_small(room: str) -> None:
    lengths = sorted(lines(function) for _, tree in trees(room) for function in functions(tree))
    assert statistics.median(lengths) <= MAX_MEDIAN
    assert lengths[int(0.9 * len(lengths))] <= MAX_90TH_PERCENTILE


def names_no_encoding(node: ast.AST) -> bool:
    """Text is opened as the locale has it: `x.read_text()`, `x.write_text(…)`."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    return node.func.attr in ("read_text", "write_text") and "encoding" not in {word.arg for word in node.keywords}


@pytest.mark.parametrize("room", ROOMS)
def test_text_is_utf_8_whatever_the_locale(room: str) -> None:
    files = [path for path in python_files() if path.parts[0] == room]
    found = [
        f"{path}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse((REPO / path).read_text(encoding="utf-8")))
        if names_no_encoding(node)
    ]
    assert files
    assert found == []


def test_text_without_an_encoding_is_found() -> None:
    (call,) = (node for node in ast.walk(ast.parse("path.write_text(text)")) if isinstance(node, ast.Call))
    assert names_no_encoding(call)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_typed_packages(room: str) -> None:
    assert (REPO / room / "__init__.py").is_file()
    assert (REPO / room / "py.typed").is_file()


def test_cluster_holds_no_library_code() -> None:
    assert [str(path) for path in python_files() if path.parts[0] == "cluster"] == []
