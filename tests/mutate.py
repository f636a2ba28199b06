"""Break the code on purpose, one known mistake at a time, and see whether the tests notice.

    python -m tests.mutate                                  # all that are listed
    python -m tests.mutate motion/training.py recon         # those of a file, or of a folder

tests/mutants/*.toml lists the mistakes, a table for each file: the tests that should notice, and the mutants, each a
text of the file that occurs there once, what stands in its place, and what a user would get. One that changes nothing
says why in `equivalent`; it may survive. Tests run in copies of the tree, so the tree itself stays as it is. The exit
status is 2 where a mutant survives that should not.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated

import tyro
from tqdm import tqdm

from motion.errors import InputError, command_line

REPO = Path(__file__).resolve().parent.parent
SLOWEST_S = 600  # a mutant may make a loop endless
PASSED, FAILED, NOT_COLLECTED = 0, 1, 2  # pytest's exit status


@dataclass(frozen=True)
class Mutant:
    """Mistake in one place of a file."""

    file: str
    """Path of the file, from the root of the tree on."""
    old: str
    """Text of the file, which occurs there once."""
    new: str
    """Text that the mistake puts in its place."""
    harm: str
    """Fault that a user would meet."""
    tests: tuple[str, ...]
    """Arguments of pytest that should notice: files, folders, node ids."""
    equivalent: str = ""
    """Why nobody could notice; empty where somebody should."""


@dataclass(frozen=True)
class MutateConfig:
    """Command that runs mutants."""

    only: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Files or folders of the tree whose mutants are run; all by default."""
    copies: int = os.cpu_count() or 1
    """Copies of the tree that are tested at a time."""


def read_mutants(folder: Path = REPO / "tests" / "mutants") -> list[Mutant]:
    """Read all lists of mutants, in the order of their names."""
    tables = [table for path in sorted(folder.glob("*.toml")) for table in tomllib.loads(path.read_text()).items()]
    return [
        Mutant(file, tests=tuple(each.pop("tests", table["tests"])), **each)
        for file, table in tables
        for each in table["mutants"]
    ]


def survivors(mutants: Sequence[Mutant], tree: Path, copies: int) -> list[Mutant]:
    """Run the tests of each mutant in copies of the tree; return the mutants that no test noticed.

    Raises InputError where tests fail on the tree as it is, or where there are none.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(copies) as pool:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(copies):
            free.put(copy_tree(tree, Path(folder) / str(number)))

        def status(tests: tuple[str, ...], mutant: Mutant | None = None) -> int:
            copy = free.get()
            try:
                with broken(copy, mutant) if mutant else nullcontext():
                    return run_tests(copy, tests)
            finally:
                free.put(copy)

        sets = list(dict.fromkeys(mutant.tests for mutant in mutants))
        for tests, ended in zip(sets, bar(pool.map(status, sets), len(sets), "unbroken"), strict=True):
            if ended != PASSED:
                raise InputError(f"{' '.join(tests)} ends with status {ended} before anything is broken, expected 0")
        statuses = bar(pool.map(lambda mutant: status(mutant.tests, mutant), mutants), len(mutants), "mutants")
        return [mutant for mutant, ended in zip(mutants, statuses, strict=True) if ended == PASSED]


def bar(each: Iterator[int], total: int, what: str) -> Iterator[int]:
    return iter(tqdm(each, desc=what, total=total, disable=None))


def copy_tree(tree: Path, place: Path) -> Path:
    """Copy the files that git knows or would add, and link the folder of references beside them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout
    copy = place / "tree"
    for name in filter(None, listed.split("\0")):
        if (tree / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, copy / name)
    if (tree.parent / "shared").is_dir():
        (place / "shared").symlink_to(tree.parent / "shared")
    return copy


@contextmanager
def broken(copy: Path, mutant: Mutant) -> Iterator[None]:
    """Put the mistake into the copy, and take it out again."""
    path = copy / mutant.file
    source = path.read_text(encoding="utf-8")
    if source.count(mutant.old) != 1:
        raise InputError(f"{mutant.file} holds {mutant.old!r} {source.count(mutant.old)} times, expected once")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(source, encoding="utf-8")


def run_tests(copy: Path, tests: Sequence[str]) -> int:
    """Run the tests up to the first that fails and return pytest's exit status; endless ones have failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=SLOWEST_S)
    except subprocess.TimeoutExpired:
        return FAILED
    if ended.returncode not in (PASSED, FAILED, NOT_COLLECTED):
        raise InputError(f"pytest {' '.join(tests)} ended with {ended.returncode}: {ended.stdout[-500:]}")
    return ended.returncode


def report(mutants: Sequence[Mutant], survived: Sequence[Mutant]) -> str:
    """Tell how many were killed and survived by file, then what survived."""
    left = Counter(mutant.file for mutant in survived)
    lines = ["| file | killed | survived |", "|---|---|---|"]
    for file, number in sorted(Counter(mutant.file for mutant in mutants).items()):
        lines.append(f"| {file} | {number - left[file]} | {left[file]} |")
    lines.append(f"| all | {len(mutants) - len(survived)} | {len(survived)} |")
    for mutant in survived:
        lines.append(f"survived in {mutant.file}: {mutant.harm}\n    {mutant.old!r} -> {mutant.new!r}")
        lines += [f"    equivalent: {mutant.equivalent}"] if mutant.equivalent else []
    return "\n".join(lines)


def main(config: MutateConfig) -> None:
    """Run the mutants asked for; raises InputError where one survives that is not said to be equivalent."""
    names = tuple(name.rstrip("/") for name in config.only)
    mutants = [m for m in read_mutants() if not names or any(f"{m.file}/".startswith(f"{name}/") for name in names)]
    if not mutants:
        raise InputError(f"no mutants of {', '.join(names)}, expected files or folders that tests/mutants/*.toml name")
    survived = survivors(mutants, REPO, config.copies)
    print(report(mutants, survived))
    if unseen := [mutant for mutant in survived if not mutant.equivalent]:
        raise InputError(f"{len(unseen)} of {len(mutants)} mutants survived, expected tests that notice each")


if __name__ == "__main__":
    command_line.run(main, MutateConfig, __doc__)
