"""The command line that all programs share: their name in the help, their end on bad input, and lists of programs.

A program is a module with `if __name__ == "__main__":`, or a package with a `__main__`. Its docstring opens with what
it does and shows, on a line of its own, how to run it: `python -m PACKAGE.NAME …`.
"""

import ast
import errno
import importlib.util
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro

from motion.errors import InputError
from motion.errors.text_files import require_utf8

C = TypeVar("C")
FOLDED_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)|(s3|gs|gcs|hdfs|abfss?|file):[^/]")
"""Start of a URI that lost a slash, as one does that is taken for a path."""
ABOUT_A_FILE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
}
"""Faults of a file or folder that a user can mend."""


def program() -> str:
    """Return how this process was started, such as `python -m motion.render`, for its help text."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else sys.argv[0]


def run(work: Callable[[C], object], config: type[C], description: str | None) -> None:
    """Parse `config` from the command line and do the work with it; the description is the program's docstring."""
    exit_on_bad_input(lambda: finish(work, with_paths(tyro.cli(config, prog=program(), description=description))))


def with_paths(config: C) -> C:
    """Return a configuration whose paths are meant: `~` is the home.

    Raises InputError for a path that is not UTF-8 or made of a URI.
    """
    for name, value in vars(config).items():
        if isinstance(value, Path):
            require_utf8(str(value))
            if FOLDED_URI.match(str(value)):
                raise InputError(f"--{name.replace('_', '-')} is {str(value)!r}, expected a path: this takes no URI")
            object.__setattr__(config, name, at_home(value))
    return config


def at_home(path: str | Path) -> Path:
    """Put the home for `~`; what names no user's home is a file of that name, as it is to a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's own raises there)


def finish(work: Callable[[C], object], config: C) -> None:
    """Do the work to its end; raises InputError where a user's extension ends it by `sys.exit` with status 0."""
    try:
        work(config)
    except SystemExit as ended:
        if ended.code:
            raise
        raise InputError("an extension ended the program by sys.exit, expected it to return or to raise") from ended


def exit_on_bad_input(work: Callable[[], object]) -> None:
    """Do the work; bad input, or a file that cannot be written, ends in one sentence on stderr and exit status 2.

    An interrupt ends in a word and its own status. What the terminal's encoding lacks, of a caption in another script,
    is printed as its code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except OSError as error:
        if error.errno not in ABOUT_A_FILE:
            raise
        what = " ".join(str(error).split())
        print(f"error: {what}; see that the path is meant, can be written to and has room", file=sys.stderr)
        sys.exit(2)


@dataclass(frozen=True)
class Program:
    """One program of a package."""

    name: str
    """Module name that follows `python -m`."""
    summary: str
    """First paragraph of the docstring, in one line."""
    example: str
    """Command that runs it."""


def programs(package: str) -> Iterator[Program]:
    """Find the programs of a package in its source files, which are not imported; sorted by name."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    for path in sorted(Path(folder).rglob("*.py")):
        name = ".".join([package, *path.relative_to(folder).with_suffix("").parts])
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if name != f"{package}.__main__" and any(map(_starts_a_program, tree.body)):
            yield _describe(name.removesuffix(".__main__"), ast.get_docstring(tree) or "")


def list_programs(package: str) -> None:
    """Print the programs of a package, with what each does and how to run it; takes no arguments but --help."""
    if unknown := [argument for argument in sys.argv[1:] if argument not in ("-h", "--help")]:
        raise InputError(
            f"{unknown[0]!r} is no argument of `python -m {package}`, which lists programs and takes none; "
            f"run one by its own name, such as `python -m {next(programs(package)).name} --help`"
        )
    print(f"Programs of {package}; each says more with --help.")
    for found in programs(package):
        print(f"\n{found.name}\n    {found.summary}\n    $ {found.example}")


def _starts_a_program(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def _describe(name: str, doc: str) -> Program:
    lines = [line.strip() for line in re.sub(r"\s*\\\n\s*", " ", doc).splitlines()]
    commands = (line for line in lines if line.startswith(f"python -m {name}"))
    example = next(commands, f"python -m {name} --help").split("  ")[0]  # what follows is a comment
    return Program(name, " ".join(doc.partition("\n\n")[0].split()), example)
