"""Agreement of what is imported, what pyproject.toml declares and what cluster/requirements.lock pins."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ray._private.runtime_env.packaging import _get_ignore_file

REPO = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
LOCK_LINES = (REPO / "cluster" / "requirements.lock").read_text().splitlines()
PINS = [line for line in LOCK_LINES if not line.startswith("#")]
# `body` only exports the default body anew: the result is in the repo, so the lock need not hold it.
LOCKED_EXTRAS = [extra for extra in PROJECT["optional-dependencies"] if extra != "body"]
REQUIREMENTS = PROJECT["dependencies"] + [
    line for extra in LOCKED_EXTRAS for line in PROJECT["optional-dependencies"][extra]
]
PRODUCT = ("motion", "recon", "ray_jobs")
DISTRIBUTIONS = packages_distributions()
NEVER_IMPORTED = {
    "beartype": "pytest's option --jaxtyping-packages names it",
    "import-linter": "make lint",
    "mypy": "make lint",
    "pdoc": "make docs",
    "pre-commit": "a command",
    "pybullet": "motion.datasets.deepmimic looks for its files, found by find_spec",
    "pytest-timeout": "a plugin of pytest",
    "pytest-xdist": "pytest runs the pure tests on all cores with it",
    "ruff": "make lint",
    "setuptools": "builds the wheel",
    "torchvision": "transformers' DPTImageProcessor, which prepares images for the depth networks, runs on it",
    "trimesh": "anny",
    "types-pyyaml": "mypy",
    "types-tqdm": "mypy",
    "warp-lang": "anny",
}
"""Why each requirement that no file imports is declared."""


SLOW_TO_IMPORT = {"deepspeed", "open_clip", "torch._dynamo", "torchvision", "transformers"}
"""Modules that take a second or more, or 100 MB, and that only some of a job's processes use."""


def locked_versions() -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in (pin.split("==") for pin in PINS)}


def test_every_line_pins_a_name_to_a_version() -> None:
    """No line holds an address, path or editable install: the lock must hold on any machine and with any mirror."""
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+", pin)] == []


def test_no_package_is_pinned_twice() -> None:
    assert len(locked_versions()) == len(PINS)


def test_lock_satisfies_the_project() -> None:
    requirements = {canonicalize_name(Requirement(line).name): Requirement(line) for line in REQUIREMENTS}
    locked = locked_versions()
    assert requirements.keys() - locked.keys() == set()
    assert [name for name, requirement in requirements.items() if locked[name] not in requirement.specifier] == []


def test_tests_run_on_the_locked_versions() -> None:
    names = [canonicalize_name(Requirement(line).name) for line in REQUIREMENTS]
    installed = {name: distribution(name).version for name in names}
    assert installed == {name: locked_versions()[name] for name in names}


def test_lock_leaves_out_what_only_the_exporter_needs() -> None:
    assert {"chumpy", "anny", "carescene"} & locked_versions().keys() == set()


def declared(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


@cache
def imported(folder: str) -> frozenset[str]:
    """List the top-level names of the third-party modules that the Python files of a folder import, lazily or not."""
    nodes = [node for path in (REPO / folder).rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    return frozenset({name.split(".")[0] for name in names} - sys.stdlib_module_names - {*PRODUCT, "tests"})


def imported_by_the_product() -> frozenset[str]:
    return frozenset().union(*(imported(package) for package in PRODUCT))


def distributions_of(module: str) -> set[str]:
    return {canonicalize_name(name) for name in DISTRIBUTIONS.get(module, [module])}


def test_a_plain_install_has_every_module_that_the_product_imports() -> None:
    """Only anny is left to the extra `body`: it exports the default body anew."""
    plain = declared(PROJECT["dependencies"])
    undeclared = {name for name in imported_by_the_product() if not distributions_of(name) & plain}
    assert undeclared == {"anny"}
    assert undeclared <= declared(PROJECT["optional-dependencies"]["body"])


def test_the_tests_import_only_what_is_declared() -> None:
    assert {name for name in imported("tests") if not distributions_of(name) & declared(REQUIREMENTS)} == set()


def test_every_requirement_is_imported_or_has_a_reason() -> None:
    product = {name for module in imported_by_the_product() for name in distributions_of(module)}
    tests = {name for module in imported("tests") for name in distributions_of(module)}
    extras = PROJECT["optional-dependencies"]
    plain = declared(PROJECT["dependencies"] + extras["body"] + extras["demo"]) - product
    development = declared(extras["dev"]) - tests
    assert plain | development == NEVER_IMPORTED.keys()


def test_a_submission_holds_the_product_and_none_of_its_outputs() -> None:
    ignored = _get_ignore_file(REPO, ignore_file=".rayignore")
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    outputs = set(re.findall(r"--output (\w[\w/.-]*)", readme))
    assert {"rooms", "data/first", "runs/first", "generated/first"} <= outputs
    assert [output for output in outputs if not ignored(REPO / output / "file")] == []
    product = [path for package in PRODUCT for path in (REPO / package).rglob("*") if path.is_file()]
    assert [path for path in product if ignored(path)] == []


def test_folders_named_like_the_packages_hide_nothing_that_ships(tmp_path: Path) -> None:
    """A user who writes to a folder such as recon stands beside it, and Python takes that folder for a package."""
    for package in PRODUCT:
        (tmp_path / package).mkdir()
    script = (
        "from motion.body import load_body; from recon.lifting import Lifter; from recon.pose_prior import load_prior; "
        "from recon.regressors import load_regressor; from recon.depth import load_depth_model; load_body(); "
        "Lifter.load(); load_prior(); load_regressor(); load_depth_model('tiny', metric=True)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_jobs_start_without_what_only_some_of_their_processes_use() -> None:
    """Each of a job's processes imports its module: the driver, Ray's controllers, every worker."""
    jobs = sorted(f"ray_jobs.{path.stem}" for path in (REPO / "ray_jobs").glob("*.py") if path.stem[0] != "_")
    program = f"import sys, {', '.join(jobs)}; print(*{SLOW_TO_IMPORT} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
