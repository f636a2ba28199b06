"""The lists of mutants fit the code, and the program tells the killed from the survivors."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from motion.errors import InputError
from tests.conftest import Ended
from tests.mutate import Mutant, read_mutants, report, survivors

REPO = Path(__file__).parents[1]
SUM = Mutant("sums.py", "a + b", "a - b", "a wrong sum", ("test_sums.py",))
TEXT = Mutant("sums.py", '"sum"', '"total"', "another word", ("test_sums.py",))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text('NAME = "sum"\n\ndef add(a, b):\n    return a + b\n')
    (tmp_path / "test_sums.py").write_text("import sums\n\ndef test_add():\n    assert sums.add(2, 3) == 5\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_each_listed_mutant_can_still_be_made() -> None:
    wrong = []
    for mutant in read_mutants():
        times = (REPO / mutant.file).read_text().count(mutant.old)
        files = [test.partition("::")[0] for test in mutant.tests if test.startswith("tests/")]
        missing = [file for file in files if not (REPO / file).exists()]
        if not files or times != 1 or missing or mutant.old == mutant.new:
            wrong.append((mutant.file, mutant.old, f"{times} times", missing))
    assert wrong == []


def test_a_mutant_that_no_test_notices_survives(tree: Path) -> None:
    before = (tree / "sums.py").read_text()
    assert survivors([SUM, TEXT], tree, copies=2) == [TEXT]
    assert (tree / "sums.py").read_text() == before
    assert "| sums.py | 1 | 1 |" in report([SUM, TEXT], [TEXT])
    assert "another word" in report([SUM, TEXT], [TEXT])


def test_tests_that_fail_without_any_mistake_prove_nothing(tree: Path) -> None:
    (tree / "test_sums.py").write_text("def test_add():\n    assert False\n")
    with pytest.raises(InputError, match=r"test_sums.py ends with status 1 before anything is broken"):
        survivors([SUM], tree, copies=1)


def test_a_file_without_mutants_is_told(run_program: Callable[..., Ended]) -> None:
    ended = run_program("tests.mutate", "motion/nothing.py")
    assert ended.status == 2
    assert "no mutants of motion/nothing.py, expected files or folders" in ended.err
